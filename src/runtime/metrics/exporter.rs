//! What metre tells of its exporter.

use super::family::{counter, gauge, times, OwnFamily};
use crate::encode::exposition::Format;
use crate::model::Kind;
use crate::runtime::collections::Collected;
use crate::store::{FamilySpec, Store};
use crate::sync::ThreadsMutex;
use crate::transport::http::{Cut, StatusCode};
use std::time::Duration;

/// The exporter's metrics, for its two threads and nobody else.
pub(in crate::runtime) struct ExporterMetrics(ThreadsMutex<ExporterFamilies>);

struct ExporterFamilies {
    scrapes: OwnFamily,
    render: OwnFamily,
    page_bytes: OwnFamily,
    collections: OwnFamily,
    connections: OwnFamily,
    cut: OwnFamily,
}

impl ExporterMetrics {
    /// Registers them.
    pub(in crate::runtime) fn register(store: &Store) -> ExporterMetrics {
        let register = |spec| OwnFamily::register(store, spec);
        let scrapes = counter("metre_scrapes", "Requests for pages, and those refused");
        let render = times(
            "metre_render_seconds",
            "How long the exporter's pages took to be made",
            &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0],
        );
        let page_bytes = FamilySpec::new(Kind::Summary, "metre_page_bytes").unit("bytes");
        let page_bytes = page_bytes.help("Sizes of the exporter's pages as they are sent");
        let collections = counter(
            "metre_collections",
            "What came of the collections that scrapes asked for",
        );
        let cut = counter("metre_cut_connections", "Connections that the exporter has ended");
        let mut families = ExporterFamilies {
            scrapes: register(scrapes.labels(&["code", "format"])),
            render: register(render),
            page_bytes: register(page_bytes.labels(&["encoding"])),
            collections: register(collections.labels(&["result"])),
            connections: register(gauge("metre_connections", "Open connections to the exporter")),
            cut: register(cut.labels(&["reason"])),
        };
        // So that the first of each is seen as an increase.
        for result in ["run", "shared", "late", "failed"] {
            families.collections.add(&[result], 0);
        }
        for code in ["400", "401", "403", "404", "405", "413", "431", "500"] {
            families.scrapes.add(&[code, "none"], 0);
        }
        Cut::ALL.iter().for_each(|why| families.cut.add(&[why.name()], 0));
        families.connections.set(&[], 0_u64);
        ExporterMetrics(ThreadsMutex::new(families))
    }

    /// A request was answered, with a page of this format or without one.
    pub(in crate::runtime) fn scraped(&self, code: StatusCode, format: Option<Format>) {
        let format = format.map_or("none", Format::name);
        self.0.lock().scrapes.add(&[code.as_str(), format], 1);
    }

    /// A page was made, in this time and of this size.
    pub(in crate::runtime) fn rendered(&self, took: Duration, bytes: usize, gzip: bool) {
        let mut families = self.0.lock();
        families.render.sample(&[], took.as_secs_f64());
        let encoding = if gzip { "gzip" } else { "identity" };
        families.page_bytes.sample(&[encoding], bytes as f64);
    }

    /// A collection was wished for.
    pub(in crate::runtime) fn collected(&self, what: Collected) {
        if what != Collected::NotAsked {
            self.0.lock().collections.add(&[what.name()], 1);
        }
    }

    /// So many connections are open.
    pub(in crate::runtime) fn connections(&self, count: usize) {
        self.0.lock().connections.set(&[], count);
    }

    /// A connection was ended.
    pub(in crate::runtime) fn cut(&self, why: Cut) {
        self.0.lock().cut.add(&[why.name()], 1);
    }
}
