//! The thread that makes pages.

use crate::encode::exposition::{self, Format, Only};
use crate::runtime::metrics::{ExporterMetrics, OwnMetrics};
use crate::runtime::notices::Notices;
use crate::runtime::panics;
use crate::runtime::thread::{survive, Thread};
use crate::store::Store;
use crate::transport::http::Bytes;
use flate2::write::GzEncoder;
use flate2::Compression;
use std::io::{self, BufWriter};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

/// Which page: scrapes that wait for the same one get the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) format: Format,
    pub(super) gzip: bool,
    pub(super) only: Option<Only>,
}

struct Job {
    wanted: Wanted,
    answer: oneshot::Sender<Option<Bytes>>,
}

/// What pages are made of.
pub(super) struct Source {
    pub(super) store: Arc<Store>,
    pub(super) page: exposition::Options,
    pub(super) own_metrics: Arc<OwnMetrics>,
    pub(super) metrics: Arc<ExporterMetrics>,
    pub(super) notices: Arc<Notices>,
}

/// Takes orders for pages. The thread ends with the last of these.
#[derive(Clone)]
pub(super) struct Renderer {
    jobs: Sender<Job>,
}

impl Renderer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When none can be had.
    pub(super) fn start(source: Source) -> Result<(Renderer, Thread), String> {
        let (jobs, waiting) = channel();
        let thread = Thread::start("metre-render", move || {
            survive(&source.notices, "the renderer's thread", || work(&source, &waiting));
        })?;
        Ok((Renderer { jobs }, thread))
    }

    /// The page; `None` if it could not be made.
    pub(super) async fn render(&self, wanted: Wanted) -> Option<Bytes> {
        let (answer, page) = oneshot::channel();
        self.jobs.send(Job { wanted, answer }).ok()?;
        page.await.ok()?
    }
}

fn work(source: &Source, waiting: &Receiver<Job>) {
    while let Ok(first) = waiting.recv() {
        let mut jobs: Vec<Job> = std::iter::once(first).chain(waiting.try_iter()).collect();
        while let Some(next) = jobs.first() {
            let wanted = next.wanted.clone();
            // The client may have gone meanwhile.
            if jobs.iter().any(|job| job.wanted == wanted && !job.answer.is_closed()) {
                let page = source.render(&wanted);
                let (served, rest): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| job.wanted == wanted);
                for job in served {
                    let _ = job.answer.send(page.clone());
                }
                jobs = rest;
            } else {
                jobs.retain(|job| job.wanted != wanted);
            }
        }
    }
}

impl Source {
    fn render(&self, wanted: &Wanted) -> Option<Bytes> {
        let page = panics::contain("the renderer", || self.page(wanted));
        page.map_err(|caught| panics::log(&caught, &self.notices)).ok()
    }

    fn page(&self, wanted: &Wanted) -> Bytes {
        let start = Instant::now();
        self.own_metrics.update();
        // A Vec takes everything.
        let page = match wanted.gzip {
            true => {
                // The compressor takes its time over each call, and a page is written in small pieces.
                let mut pieces = BufWriter::with_capacity(64 << 10, GzEncoder::new(Vec::new(), Compression::fast()));
                let _ = self.write(&mut pieces, wanted);
                let gzip = pieces.into_inner().map(GzEncoder::finish);
                gzip.map_or_else(|_| Vec::new(), Result::unwrap_or_default)
            }
            false => {
                let mut page = Vec::new();
                let _ = self.write(&mut page, wanted);
                page.shrink_to_fit();
                page
            }
        };
        self.metrics.rendered(start.elapsed(), page.len(), wanted.gzip);
        page.into()
    }

    fn write(&self, out: &mut impl io::Write, wanted: &Wanted) -> io::Result<()> {
        exposition::page(out, &self.store, self.page, wanted.format, wanted.only.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, LabelSet};
    use crate::policy::Policy;
    use crate::runtime::bell::Bell;
    use crate::runtime::event_loop::EventLoop;
    use crate::store::FamilySpec;
    use std::time::Duration;
    use tokio::time::timeout;

    fn source(store: &Arc<Store>) -> Source {
        let bell = Arc::new(Bell::default());
        let notices = Arc::new(Notices::new(&bell));
        let event_loop = Arc::new(EventLoop::new(&bell, &notices, store));
        Source {
            store: Arc::clone(store),
            page: exposition::Options::default(),
            own_metrics: Arc::new(OwnMetrics::register(store, store, store, false, &event_loop, "none")),
            metrics: Arc::new(ExporterMetrics::register(store)),
            notices,
        }
    }

    #[test]
    fn no_page_is_made_for_those_who_have_gone() {
        let store = Arc::new(Store::with(Policy::unlimited(), None));
        let (mut writer, _) = store
            .register(FamilySpec {
                kind: Kind::Counter,
                name: b"x".to_vec(),
                unit: Vec::new(),
                help: Vec::new(),
                label_keys: vec![b"number".to_vec()],
                thresholds: Vec::new(),
            })
            .unwrap();
        for number in 0..100_000 {
            let mut set = LabelSet::new();
            set.push(number.to_string().as_bytes());
            writer.find_or_create(set.as_bytes()).unwrap();
        }
        let (renderer, thread) = Renderer::start(source(&store)).unwrap();
        let wanted = |name: &str| Wanted {
            format: Format::Text0,
            gzip: false,
            only: Some(Only::from([name.to_owned()])),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let page = runtime.unwrap().block_on(async {
            let mut large = Box::pin(renderer.render(wanted("x")));
            assert!(timeout(Duration::ZERO, &mut large).await.is_err());
            for number in 0..50 {
                let _ = timeout(Duration::ZERO, renderer.render(wanted(&number.to_string()))).await;
            }
            assert!(large.await.unwrap().len() > 1_000_000);
            renderer.render(wanted("metre_render_seconds")).await.unwrap()
        });
        let page = String::from_utf8(page.to_vec()).unwrap();
        let count = page
            .lines()
            .find_map(|line| line.strip_prefix("metre_render_seconds_count "));
        assert!(count.unwrap().parse::<u32>().unwrap() < 10, "{page}");
        drop(renderer);
        assert!(thread.join_by(Instant::now() + Duration::from_secs(20)));
    }
}
