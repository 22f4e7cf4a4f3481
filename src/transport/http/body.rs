//! Bodies of answers: whole ones, and those that go out while they are still being made.

use hyper::body::{Bytes, Frame, SizeHint};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

/// An answer's body.
pub struct Body {
    content: Content,
    /// In bytes, if that is known.
    length: Option<usize>,
    load: Load,
}

enum Content {
    /// Taken already, or nothing.
    None,
    Whole(Bytes),
    Pieces(Pieces),
}

/// What an answer on its way holds in memory. Clients that asked together share it.
#[derive(Clone)]
pub(super) struct Load {
    /// Whose it is: where its bytes are, or the number of a body in pieces.
    pub(super) shared: Shared,
    bytes: Arc<AtomicUsize>,
}

/// What answers share.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Shared {
    Bytes(usize),
    Pieces(u64),
}

impl Load {
    /// Whether both are of the same body.
    pub(super) fn is(&self, other: &Load) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes)
    }

    /// In bytes, by now.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(SeqCst)
    }
}

/// What goes through the queue of a body in pieces.
enum Piece {
    More(Bytes),
    End,
}

/// The end of the queue that the client takes from.
struct Pieces {
    queue: UnboundedReceiver<Piece>,
    queued: Arc<AtomicUsize>,
    made: Option<oneshot::Receiver<()>>,
    taken: Box<dyn Fn() + Send>,
}

/// Where the pieces of a body come from. If it is dropped before [`Feed::finish`], the client sees that the answer is not whole.
pub struct Feed {
    queue: UnboundedSender<Piece>,
    queued: Arc<AtomicUsize>,
    made: oneshot::Sender<()>,
}

/// A body whose [`Feed`] has gone before its end.
#[derive(Debug)]
pub struct Broken;

impl Body {
    /// A body in pieces, which can be given to a client at any time. Whenever that has taken one, and when it has gone, `taken` is
    /// called, by the server's thread.
    pub fn in_pieces(taken: impl Fn() + Send + 'static) -> (Feed, Body) {
        let (sender, queue) = unbounded_channel();
        let (tell, made) = oneshot::channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let feed = Feed {
            queue: sender,
            queued: Arc::clone(&queued),
            made: tell,
        };
        let pieces = Pieces {
            queue,
            queued: Arc::clone(&queued),
            made: Some(made),
            taken: Box::new(taken),
        };
        let body = Body {
            content: Content::Pieces(pieces),
            length: None,
            load: Load {
                shared: Shared::Pieces(0),
                bytes: queued,
            },
        };
        (feed, body)
    }

    /// The same body: those with this number have the same pieces, and its length is this one, in bytes, if it is known.
    pub fn numbered(mut self, number: u64, length: Option<usize>) -> Body {
        self.load.shared = Shared::Pieces(number);
        self.length = length;
        self
    }

    /// A body for an answer to HEAD: its length in bytes, without the bytes.
    pub fn of_length(length: usize) -> Body {
        Body {
            length: Some(length),
            ..Body::from(Bytes::new())
        }
    }

    /// In bytes, if that is known.
    pub fn length(&self) -> Option<usize> {
        self.length
    }

    pub(super) fn load(&self) -> &Load {
        &self.load
    }

    /// What tells when all of it has been made, if that is still to come.
    pub(super) fn made(&mut self) -> Option<oneshot::Receiver<()>> {
        match &mut self.content {
            Content::Pieces(pieces) if self.length.is_none() => pieces.made.take(),
            _ => None,
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body {
            length: Some(bytes.len()),
            load: Load {
                shared: Shared::Bytes(bytes.as_ptr() as usize),
                bytes: Arc::new(AtomicUsize::new(bytes.len())),
            },
            content: match bytes.is_empty() {
                true => Content::None,
                false => Content::Whole(bytes),
            },
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Content::Pieces(pieces) = &mut self.content {
            match ready!(pieces.queue.poll_recv(context)) {
                Some(Piece::More(bytes)) => {
                    pieces.queued.fetch_sub(bytes.len(), SeqCst);
                    (pieces.taken)();
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(Piece::End) => {}
                None => return Poll::Ready(Some(Err(Broken))),
            }
        }
        Poll::Ready(match std::mem::replace(&mut self.content, Content::None) {
            Content::Whole(bytes) => Some(Ok(Frame::data(bytes))),
            Content::None | Content::Pieces(_) => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::None)
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.length.map(|length| SizeHint::with_exact(length as u64));
        length.unwrap_or_default()
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        // First, since whoever is called looks whether the client is there.
        self.queue.close();
        (self.taken)();
    }
}

impl Feed {
    /// Hands a piece to the client, whether it has taken the last ones or not.
    pub fn push(&self, bytes: Bytes) {
        self.queued.fetch_add(bytes.len(), SeqCst);
        // A client that has gone needs nothing.
        let _ = self.queue.send(Piece::More(bytes));
    }

    /// How many bytes the client has not taken yet.
    pub fn queued(&self) -> usize {
        self.queued.load(SeqCst)
    }

    /// Whether the client has gone.
    pub fn is_gone(&self) -> bool {
        self.queue.is_closed()
    }

    /// That was all.
    pub fn finish(self) {
        let _ = self.made.send(());
        let _ = self.queue.send(Piece::End);
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer could not be made to its end")
    }
}

impl std::error::Error for Broken {}

#[cfg(test)]
impl Body {
    /// The next piece, as hyper gets it.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        use hyper::body::Body as _;
        let mut body = std::pin::Pin::new(self);
        let frame = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await?;
        Some(frame.map(|frame| frame.into_data().unwrap()))
    }

    /// How many bytes wait to be taken.
    pub(crate) fn queued(&self) -> usize {
        self.load.bytes()
    }

    pub(crate) fn shares_with(&self, other: &Body) -> bool {
        self.load.shared == other.load.shared
    }
}
