//! `exporter`: metre's own HTTP server.

use super::read_values::{one_of, one_or_more, seconds, text, whole};
use super::Value;
use crate::runtime::{Collecting, ExportOptions, Probes};
use crate::transport::http::{Access, Address, Limits, Options};
use ipnet::IpNet;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Memory for pages on their way to clients, in bytes.
const PAGES: usize = 64 << 20;

/// `exporter`: where, to whom, within which limits.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table, or an address as a string")]
pub struct Exporter {
    /// Where to listen.
    #[serde(deserialize_with = "listen")]
    pub listen: Vec<Listen>,
    /// The mode of Unix sockets.
    #[serde(deserialize_with = "socket_mode")]
    pub socket_mode: u32,
    /// From where TCP connections are served.
    #[serde(deserialize_with = "allow")]
    pub allow: Vec<Range>,
    /// A file with the tokens, one or two, of which every request has to bring one.
    #[serde(deserialize_with = "bearer_token_file")]
    pub bearer_token_file: Option<PathBuf>,
    /// Who may ask `/-/healthy` and `/-/ready`.
    #[serde(deserialize_with = "probes")]
    pub probes: Probes,
    /// The most connections at a time.
    #[serde(deserialize_with = "max_connections")]
    pub max_connections: usize,
    /// How long the head of a request may take.
    #[serde(deserialize_with = "timeout")]
    pub header_timeout: Duration,
    /// How long a connection may stay without a request.
    #[serde(deserialize_with = "timeout")]
    pub idle_timeout: Duration,
    /// How long a client may take to fetch a page.
    #[serde(deserialize_with = "timeout")]
    pub send_timeout: Duration,
    /// How long a scrape waits for a collection.
    #[serde(deserialize_with = "collect_time")]
    pub collect_timeout: Duration,
    /// How old the last collection may be for a scrape to be content with it.
    #[serde(deserialize_with = "collect_time")]
    pub collect_min_interval: Duration,
}

impl Default for Exporter {
    fn default() -> Self {
        Exporter {
            listen: vec![Listen(Address::Tcp(([127, 0, 0, 1], 9469).into()))],
            socket_mode: 0o660,
            allow: vec![
                Range(IpNet::new_assert(IpAddr::from([127, 0, 0, 0]), 8)),
                Range(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16]).into()),
            ],
            bearer_token_file: None,
            probes: Probes::Guarded,
            max_connections: 64,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(300),
            send_timeout: Duration::from_secs(30),
            collect_timeout: Duration::from_secs(1),
            collect_min_interval: Duration::from_secs(1),
        }
    }
}

impl From<Exporter> for ExportOptions {
    fn from(config: Exporter) -> ExportOptions {
        ExportOptions {
            http: Options {
                listen: config.listen.into_iter().map(|Listen(address)| address).collect(),
                socket_mode: config.socket_mode,
                access: Access {
                    allow: config.allow.into_iter().map(|Range(range)| range).collect(),
                    token_file: config.bearer_token_file,
                },
                limits: Limits {
                    connections: config.max_connections,
                    header_time: config.header_timeout,
                    idle_time: config.idle_timeout,
                    send_time: config.send_timeout,
                    answers: PAGES,
                },
            },
            collecting: Collecting {
                timeout: config.collect_timeout,
                min_interval: config.collect_min_interval,
            },
            probes: config.probes,
        }
    }
}

/// An address that can be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Listen(Address);

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Listen, D::Error> {
        const ALLOWED: &str =
            "\"127.0.0.1:9469\", \"[::1]:9469\", \"unix:/path\", with addresses and ports of your own";
        let text = text(from, ALLOWED)?;
        let error = |why| {
            // A URL may have a password in it.
            let given = if text.contains('@') {
                Value::Other("a string with an @".to_owned())
            } else {
                Value::String(text.clone())
            };
            D::Error::custom(format!("is {given}: {why}; allowed: {ALLOWED}"))
        };
        Address::parse(&text).map(Listen).map_err(error)
    }
}

/// A range of addresses that can be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Range(IpNet);

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Range, D::Error> {
        const ALLOWED: &str = "an address or a range of them, as in \"192.0.2.7\", \"10.0.0.0/8\" or \"2001:db8::/32\"";
        let text = text(from, ALLOWED)?;
        let range = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        range.map(|range| Range(plain(range).trunc())).map_err(|_| {
            let hint = match text.as_str() {
                "*" => "; for everybody: \"0.0.0.0/0\" and \"::/0\"",
                "localhost" => "; for this machine: \"127.0.0.0/8\" and \"::1\"",
                _ => "",
            };
            D::Error::custom(format!("is {}; allowed: {ALLOWED}{hint}", Value::String(text)))
        })
    }
}

/// A range of IPv4 addresses if it is one in IPv6 clothes, since that is how peers are compared.
fn plain(range: IpNet) -> IpNet {
    let IpNet::V6(six) = range else {
        return range;
    };
    let four = six.addr().to_ipv4_mapped().zip(six.prefix_len().checked_sub(96));
    four.and_then(|(address, length)| IpNet::new(address.into(), length).ok())
        .unwrap_or(range)
}

fn listen<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Listen>, D::Error> {
    let all: Vec<Listen> = one_or_more(from, "an address")?;
    if all.is_empty() {
        return Err(D::Error::custom(
            "is an empty list; allowed: at least one address; without 'exporter' nothing listens",
        ));
    }
    match (1..all.len()).find(|at| all[..*at].contains(&all[*at])) {
        Some(twice) => Err(D::Error::custom(format!(
            "has {} twice; leave one of them out",
            all[twice].0
        ))),
        None => Ok(all),
    }
}

fn allow<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Range>, D::Error> {
    one_or_more(from, "a range of addresses")
}

fn socket_mode<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    const ALLOWED: &str = "file permissions in octal digits, in quotes, as in \"0660\"";
    let text = text(from, ALLOWED)?;
    let digits = text.len() >= 3 && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let mode = u32::from_str_radix(&text, 8)
        .ok()
        .filter(|mode| digits && *mode <= 0o777);
    mode.ok_or_else(|| D::Error::custom(format!("is {}; allowed: {ALLOWED}", Value::String(text))))
}

fn bearer_token_file<'de, D: Deserializer<'de>>(from: D) -> Result<Option<PathBuf>, D::Error> {
    let path = String::deserialize(from)?;
    match path.starts_with('/') {
        true => Ok(Some(path.into())),
        false => {
            // Not shown, since it may be the token itself.
            Err(D::Error::custom(
                "is no path from '/' on; allowed: the path of a file with the token in it",
            ))
        }
    }
}

fn probes<'de, D: Deserializer<'de>>(from: D) -> Result<Probes, D::Error> {
    one_of(from, &[("allow", Probes::Allow), ("all", Probes::All)])
}

fn max_connections<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    whole(from, 1, 10_000, "").map(|count| count as usize)
}

fn timeout<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    seconds(from, 1.0, 86400.0)
}

fn collect_time<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    seconds(from, 0.0, 3600.0)
}
