//! An HTTP/1.1 server for one thread: it listens, decides who gets in, and limits what clients can take. What it serves is a
//! [`Site`]'s to say.

mod access;
mod address;
mod body;
mod connection;
mod server;
mod socket_file;
mod token;
mod watched;

pub use access::{Access, Audience, Denied};
pub use address::Address;
pub use body::{Body, Broken, Feed};
pub use connection::{Cut, Limits};
pub use hyper::body::Bytes;
pub use hyper::http::request::Parts as Head;
pub use hyper::{header, Method, Response, StatusCode, Version};
pub use server::serve;
pub use token::Tokens;

use hyper::header::{HeaderValue, CONTENT_TYPE, WWW_AUTHENTICATE};
use std::future::Future;
use std::io;
use std::path::Path;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 128;

/// What a server is made with.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Where to listen.
    pub listen: Vec<Address>,
    /// The mode of sockets in the file system.
    pub socket_mode: u32,
    /// Who gets in.
    pub access: Access,
    /// What clients may take.
    pub limits: Limits,
}

/// What is served.
pub trait Site: 'static {
    /// Whom this request needs to come from.
    fn audience(&self, request: &Head) -> Audience;

    /// Answers a request from somebody who may come in.
    fn answer(&self, request: &Head) -> impl Future<Output = Response<Body>>;

    /// Something has happened.
    fn note(&self, event: Event<'_>);

    /// Called each second.
    fn tick(&self);
}

/// What happens on the way.
#[derive(Debug)]
pub enum Event<'a> {
    /// So many connections are open by now.
    Connections(usize),
    /// Connections are accepted there.
    Listening(&'a Address),
    /// They can't be, which is tried again. Told once for each kind of reason.
    CannotListen(&'a Address, io::Error),
    /// Somebody has removed this socket's file. It is made again.
    FileGone(&'a Path),
    /// The system couldn't hand over a connection.
    CannotAccept(io::Error),
    /// Somebody didn't get in.
    Denied(Denied),
    /// The file with the tokens can't be used, so that nobody gets in. Told once for each reason.
    NoToken(&'a Path, &'a io::Error),
    /// It can be, and should be mended all the same. Told once for each reason.
    TokenFlaws(&'a Path, &'a str),
    /// Now it can be.
    Token(&'a Path),
    /// A request was refused for its form.
    Refused(StatusCode),
    /// A connection was ended.
    Cut(Cut),
    /// That one was waiting for its answer: more clients want one than there is room for.
    Full,
    /// A fault in here.
    Panicked,
}

/// A status with its name as the text.
pub fn plain(status: StatusCode) -> Response<Body> {
    let text = format!(
        "{} {}\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default()
    );
    let mut response = Response::new(Bytes::from(text).into());
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    if status == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
