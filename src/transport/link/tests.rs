use super::*;
use std::sync::{Arc, Mutex};

/// A stream that takes a few bytes and then fails: a real one can't be made to at a certain byte.
struct Failing {
    left: usize,
    taken: Arc<Mutex<Vec<u8>>>,
}

impl Socket for Failing {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.left);
        self.left -= count;
        self.taken.lock().unwrap().extend_from_slice(&bytes[..count]);
        match count {
            0 => Err(ErrorKind::ConnectionReset.into()),
            count => Ok(count),
        }
    }

    fn check(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn tells_at_once(&self) -> bool {
        true
    }
}

fn link(limit: usize) -> Link {
    let endpoint = Endpoint::parse("tcp://127.0.0.1:1").unwrap();
    Link::new(&endpoint, limit, Duration::from_secs(60))
}

#[test]
fn a_new_connection_begins_with_the_line_that_was_cut() {
    for (left, rest) in [(1, "a:1|c\nb:2|c\n"), (6, "b:2|c\n"), (8, "b:2|c\n"), (11, "b:2|c\n")] {
        let mut link = link(100);
        let taken = Arc::new(Mutex::new(Vec::new()));
        link.push(b"a:1|c\nb:2|c\n".to_vec());
        link.socket = Some(Box::new(Failing {
            left,
            taken: Arc::clone(&taken),
        }));
        assert!(matches!(link.drive(), Progress::Down(_)));
        assert_eq!(taken.lock().unwrap().len(), left);
        assert_eq!(link.waiting, [rest.as_bytes()]);
        assert!(matches!(link.events()[..], [Event::Broke(_)]));
    }
}

#[test]
fn what_a_socket_finds_too_long_is_sent_in_parts() {
    let mut link = link(100);
    link.push(b"a:1|c\nb:0|g\nb:-2|g\nc:3|c".to_vec());
    link.split();
    assert_eq!(link.waiting, [b"a:1|c\nb:0|g\nb:-2|g".as_slice(), b"c:3|c"]);
    link.split();
    assert_eq!(link.waiting, [b"a:1|c".as_slice(), b"b:0|g\nb:-2|g", b"c:3|c"]);
    link.waiting.pop_front();
    link.split();
    assert_eq!(link.waiting, [b"c:3|c"], "one gauge, which can't be parted");
    link.split();
    assert!(link.is_idle());
    assert_eq!(link.traffic().too_long, 2);
}
