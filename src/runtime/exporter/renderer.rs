//! The thread that makes pages.

use super::desk::{Begun, Desk, Job, Order, Take, Wanted};
use super::page::{Page, PIECE};
use crate::encode::exposition;
use crate::runtime::metrics::{ExporterMetrics, OwnMetrics};
use crate::runtime::notices::Notices;
use crate::runtime::panics;
use crate::runtime::thread::{survive, Thread};
use crate::store::Store;
use crate::transport::http::Body;
use flate2::write::GzEncoder;
use flate2::Compression;
use std::io::{self, BufWriter};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::{channel, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// What pages are made of.
pub(super) struct Source {
    pub(super) store: Arc<Store>,
    pub(super) page: exposition::Options,
    pub(super) own_metrics: Arc<OwnMetrics>,
    pub(super) metrics: Arc<ExporterMetrics>,
    pub(super) notices: Arc<Notices>,
    /// How long clients are waited for while a page is made, in all; see [`Desk::wait`].
    pub(super) patience: Duration,
}

/// Takes orders for pages. The thread ends with the last of these.
#[derive(Clone)]
pub(super) struct Renderer {
    orders: Sender<Order>,
    /// Whether the thread waits for clients.
    waits: Arc<AtomicBool>,
}

impl Renderer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When none can be had.
    pub(super) fn start(source: Source) -> Result<(Renderer, Thread), String> {
        let (orders, incoming) = channel();
        let waits = Arc::new(AtomicBool::new(false));
        let renderer = Renderer {
            orders,
            waits: Arc::clone(&waits),
        };
        let thread = Thread::start("metre-render", move || {
            survive(&source.notices, "the renderer's thread", || {
                source.work(&mut Desk::new(&incoming, &waits));
            });
        })?;
        Ok((renderer, thread))
    }

    /// The page, of which the rest may still be made; `None` if it could not be.
    pub(super) async fn render(&self, wanted: Wanted, take: Take) -> Option<Body> {
        let (waits, orders) = (Arc::clone(&self.waits), self.orders.clone());
        let (feed, body) = Body::in_pieces(move || {
            if waits.load(SeqCst) {
                let _ = orders.send(Order::Taken);
            }
        });
        let (tell, begun) = oneshot::channel();
        let job = Job {
            wanted,
            take,
            begun: Some(tell),
            feed,
        };
        self.orders.send(Order::Page(job)).ok()?;
        match begun.await.ok()? {
            Begun::Short(bytes) => Some(bytes.into()),
            Begun::Counted(length) => Some(Body::of_length(length)),
            Begun::Long(number, length) => Some(body.numbered(number, length)),
        }
    }
}

impl Source {
    fn work(&self, desk: &mut Desk<'_>) {
        for number in 0.. {
            let Some((wanted, jobs)) = desk.next() else {
                return;
            };
            self.serve(number, &wanted, jobs, desk);
        }
    }

    fn serve(&self, number: u64, wanted: &Wanted, jobs: Vec<Job>, desk: &mut Desk<'_>) {
        let mut page = Page::new(number, jobs, desk, self.patience);
        let made = panics::contain("the renderer", || self.page(wanted, &mut page));
        match made {
            Ok(()) => page.finish(),
            // Its clients see that it isn't whole.
            Err(caught) => panics::log(&caught, &self.notices),
        }
    }

    fn page(&self, wanted: &Wanted, page: &mut Page<'_, '_>) {
        let start = Instant::now();
        self.own_metrics.update();
        let made = match wanted.gzip {
            true => {
                // The compressor takes its time over each call, and a page is written in small pieces.
                let mut pieces = BufWriter::with_capacity(PIECE, GzEncoder::new(&mut *page, Compression::fast()));
                let made = self.write(&mut pieces, wanted);
                let gzip = made.and_then(|()| pieces.into_inner().map_err(io::IntoInnerError::into_error));
                gzip.and_then(GzEncoder::finish).map(|_| ())
            }
            false => self.write(page, wanted),
        };
        // There is an error only if nobody wants it any more.
        if made.is_ok() {
            let took = start.elapsed().saturating_sub(page.waited());
            self.metrics.rendered(took, page.length(), wanted.gzip);
        }
    }

    fn write(&self, out: &mut impl io::Write, wanted: &Wanted) -> io::Result<()> {
        exposition::page(out, &self.store, self.page, wanted.format, wanted.only.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::MUCH;
    use super::*;
    use crate::encode::exposition::{Format, Only};
    use crate::model::{Kind, LabelSet};
    use crate::policy::Policy;
    use crate::runtime::bell::Bell;
    use crate::runtime::event_loop::EventLoop;
    use crate::store::{FamilySpec, FamilyWriter};
    use std::future::Future;
    use tokio::time::timeout;

    /// What only ends a test that doesn't hold.
    const LONG: Duration = Duration::from_secs(300);

    /// A store with 100,000 series, and what pages of it are made of. Clients are waited for as long as it takes.
    fn source() -> (Source, FamilyWriter) {
        let store = Arc::new(Store::with(Policy::unlimited(), None));
        let spec = FamilySpec::new(Kind::Counter, "x").labels(&["number"]);
        let (mut writer, _) = store.register(spec).unwrap();
        for number in 0..100_000 {
            let mut set = LabelSet::new();
            set.push(format!("{number:0150}").as_bytes());
            writer.find_or_create(set.as_bytes()).unwrap();
        }
        let bell = Arc::new(Bell::default());
        let notices = Arc::new(Notices::new(&bell));
        let event_loop = Arc::new(EventLoop::new(&bell, &notices, &store));
        let source = Source {
            page: exposition::Options::default(),
            own_metrics: Arc::new(OwnMetrics::register(&store, &store, &store, false, &event_loop, "none")),
            metrics: Arc::new(ExporterMetrics::register(&store)),
            store,
            notices,
            patience: LONG,
        };
        (source, writer)
    }

    fn wanted(name: &str) -> Wanted {
        Wanted {
            format: Format::Text0,
            gzip: false,
            only: Some(Only::from([name.to_owned()])),
        }
    }

    fn run<T>(client: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(client)
    }

    /// All of a page, and the most that it kept in memory meanwhile.
    async fn read(mut body: Body) -> (String, usize) {
        let (mut page, mut most) = (Vec::new(), body.queued());
        while let Some(piece) = body.next().await {
            page.extend_from_slice(&piece.unwrap());
            most = most.max(body.queued());
        }
        (String::from_utf8(page).unwrap(), most)
    }

    async fn page(renderer: &Renderer, name: &str) -> String {
        read(renderer.render(wanted(name), Take::Pieces).await.unwrap()).await.0
    }

    /// How many pages have been made, by the page of that.
    async fn count(renderer: &Renderer) -> u32 {
        let page = page(renderer, "metre_render_seconds").await;
        let mut lines = page.lines();
        let count = lines.find_map(|line| line.strip_prefix("metre_render_seconds_count "));
        count.unwrap().parse().unwrap()
    }

    fn wait_until(is_so: impl Fn() -> bool) {
        let end = Instant::now() + LONG;
        while !is_so() {
            assert!(Instant::now() < end);
            std::thread::yield_now();
        }
    }

    #[test]
    fn no_page_is_made_for_those_who_have_gone() {
        let (source, _writer) = source();
        let (renderer, thread) = Renderer::start(source).unwrap();
        let made = run(async {
            let mut large = Box::pin(page(&renderer, "x"));
            assert!(timeout(Duration::ZERO, &mut large).await.is_err());
            for number in 0..50 {
                let _ = timeout(
                    Duration::ZERO,
                    renderer.render(wanted(&number.to_string()), Take::Pieces),
                )
                .await;
            }
            assert!(large.await.len() > 15_000_000);
            count(&renderer).await
        });
        assert!(made < 10, "{made}");
        drop(renderer);
        assert!(thread.join_by(Instant::now() + LONG));
    }

    #[test]
    fn a_client_that_reads_on_keeps_little_in_memory() {
        let (source, _writer) = source();
        let (renderer, _thread) = Renderer::start(source).unwrap();
        run(async {
            let body = renderer.render(wanted("x"), Take::Pieces).await.unwrap();
            wait_until(|| renderer.waits.load(SeqCst));
            assert!(body.queued() > MUCH);
            let (page, most) = read(body).await;
            assert!(page.len() > 15_000_000);
            assert!(most <= MUCH + PIECE, "{most}");
        });
    }

    #[test]
    fn a_client_that_reads_nothing_holds_nobody_up() {
        let (source, _writer) = source();
        let (renderer, _thread) = Renderer::start(source).unwrap();
        run(async {
            let slow = renderer.render(wanted("x"), Take::Pieces).await.unwrap();
            wait_until(|| renderer.waits.load(SeqCst));
            let other = page(&renderer, "x").await;
            assert!(slow.queued() > other.len() - PIECE);
            assert_eq!(read(slow).await.0, other);
        });
    }

    #[test]
    fn nobody_is_waited_for_who_has_gone() {
        let (source, _writer) = source();
        let (renderer, thread) = Renderer::start(source).unwrap();
        run(async {
            let slow = renderer.render(wanted("x"), Take::Pieces).await.unwrap();
            wait_until(|| renderer.waits.load(SeqCst));
            drop(slow);
            wait_until(|| !renderer.waits.load(SeqCst));
            // Nor is the rest of their page made.
            assert_eq!(count(&renderer).await, 0);
        });
        drop(renderer);
        assert!(thread.join_by(Instant::now() + LONG));
    }

    #[test]
    fn those_who_wait_for_the_same_page_share_it() {
        let (source, _writer) = source();
        let (orders, incoming) = channel();
        let waits = Arc::new(AtomicBool::new(false));
        let renderer = Renderer {
            orders,
            waits: Arc::clone(&waits),
        };
        run(async {
            let ask = |take| Box::pin(renderer.render(wanted("x"), take));
            let (mut first, mut second) = (ask(Take::Pieces), ask(Take::Pieces));
            let (mut whole, mut head) = (ask(Take::Whole), ask(Take::Length));
            for asked in [&mut first, &mut second, &mut whole, &mut head] {
                assert!(timeout(Duration::ZERO, asked).await.is_err());
            }
            std::thread::spawn(move || {
                source.work(&mut Desk::new(&incoming, &waits));
            });
            let (first, second) = (first.await.unwrap(), second.await.unwrap());
            assert!(first.shares_with(&second));
            assert_eq!(first.length(), None);
            let (first, second) = tokio::join!(read(first), read(second));
            let (whole, head) = (whole.await.unwrap(), head.await.unwrap());
            let lengths = [whole.length(), head.length()];
            assert_eq!(lengths, [Some(first.0.len()); 2]);
            assert_eq!(first.0, second.0);
            assert_eq!(first.0, read(whole).await.0);
            assert_eq!(read(head).await.0, "");
            assert_eq!(count(&renderer).await, 1);
        });
    }
}
