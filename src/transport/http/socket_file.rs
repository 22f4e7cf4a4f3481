//! A listening socket in the file system: its mode, what a dead server left behind, and its end.

use super::BACKLOG;
use nix::fcntl::{Flock, FlockArg};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// The file of a listening socket. It goes with this, unless something else lies in its place by then.
pub(super) struct SocketFile {
    pub(super) path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    /// Listens on a socket at `path` with this mode. What a server left behind that has died is removed, nothing else.
    ///
    /// # Errors
    /// Those of the system; if another server listens there; if what lies there isn't a socket of ours.
    pub(super) fn bind(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
        // Between these steps another server of ours must not take them for signs of a dead one.
        let _turn = lock_directory(path);
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // Linux gives the file the mode of the socket, less the umask: so there is no moment when anybody else could connect.
        let socket = File::from(OwnedFd::from(socket));
        socket.set_permissions(Permissions::from_mode(mode))?;
        let socket = Socket::from(OwnedFd::from(socket));
        socket.bind(&SockAddr::unix(path)?)?;
        let file = SocketFile {
            identity: identity(path)?,
            path: path.to_owned(),
        };
        // What the umask took away.
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        socket.set_nonblocking(true)?;
        socket.listen(BACKLOG)?;
        Ok((OwnedFd::from(socket).into(), file))
    }
}

impl SocketFile {
    /// Whether the file is still there.
    pub(super) fn is_in_place(&self) -> bool {
        identity(&self.path).is_ok_and(|identity| identity == self.identity)
    }
}

/// Waits for nobody, and does without if somebody else has a lock: anybody may who can read the directory.
fn lock_directory(path: &Path) -> Option<Flock<File>> {
    // Opening a pipe would wait for its other end.
    let directory = path.parent().filter(|parent| parent.is_dir())?;
    let directory = File::open(directory).ok()?;
    Flock::lock(directory, FlockArg::LockExclusiveNonblock).ok()
}

impl Drop for SocketFile {
    /// While the socket is open, no other one can have its inode.
    fn drop(&mut self) {
        if self.is_in_place() {
            // If it can't be removed, the next start takes care of it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Device and inode.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Removes a socket of our user that nobody listens on.
fn remove_stale(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    let in_the_way = |why: &str| {
        Err(io::Error::new(
            ErrorKind::AddrInUse,
            format!("there is {why}, which is left alone"),
        ))
    };
    if found.is_dir() {
        return in_the_way("a directory");
    }
    if !found.file_type().is_socket() {
        return in_the_way("a file that is not a socket");
    }
    if found.uid() != nix::unistd::geteuid().as_raw() {
        return in_the_way("another user's socket");
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A server with a full backlog would have us wait.
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(path)?) {
        Err(why) if why.kind() == ErrorKind::ConnectionRefused => {}
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(()),
        // Connected, or a full backlog, or a socket of another type.
        _ => return in_the_way("a socket that is in use"),
    }
    match identity(path) {
        Ok(now) if now == (found.dev(), found.ino()) => fs::remove_file(path),
        Ok(_) => in_the_way("a socket that is in use"),
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(()),
        Err(why) => Err(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    /// A directory of this test's own.
    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("metre-socket-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        path
    }

    fn message(path: &Path) -> String {
        match SocketFile::bind(path, 0o600) {
            Ok(_) => "bound".to_owned(),
            Err(why) => why.to_string(),
        }
    }

    #[test]
    fn it_has_its_mode_and_goes_with_the_server() {
        let directory = directory("mode");
        let path = directory.join("s");
        for mode in [0o600, 0o660, 0o666] {
            let (_listener, file) = SocketFile::bind(&path, mode).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
            UnixStream::connect(&path).unwrap();
            drop(file);
            assert!(!path.exists());
        }
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn only_what_a_dead_server_left_is_removed() {
        let directory = directory("stale");
        let path = directory.join("s");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        assert_eq!(message(&path), "bound");
        assert!(!path.exists());

        let alive = UnixListener::bind(&path).unwrap();
        assert_eq!(message(&path), "there is a socket that is in use, which is left alone");
        UnixStream::connect(&path).unwrap();
        drop(alive);
        fs::remove_file(&path).unwrap();

        let datagrams = UnixDatagram::bind(&path).unwrap();
        assert_eq!(message(&path), "there is a socket that is in use, which is left alone");
        drop(datagrams);
        fs::remove_file(&path).unwrap();

        fs::write(&path, "data").unwrap();
        assert_eq!(
            message(&path),
            "there is a file that is not a socket, which is left alone"
        );
        assert_eq!(fs::read(&path).unwrap(), b"data");
        let link = directory.join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(
            message(&link),
            "there is a file that is not a socket, which is left alone"
        );
        assert!(link.exists());
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_took_its_place_stays() {
        let directory = directory("place");
        let path = directory.join("s");
        let (_listener, file) = SocketFile::bind(&path, 0o600).unwrap();
        fs::remove_file(&path).unwrap();
        let _other = UnixListener::bind(&path).unwrap();
        drop(file);
        assert!(path.exists());
        fs::remove_dir_all(directory).unwrap();
    }
}
