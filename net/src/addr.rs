//! From what people write ("localhost:8080", `([127, 0, 0, 1], 80)`, a `SocketAddr`) to socket addresses.
//!
//! What is an address already is answered at once, without a thread and without an allocation; only a name goes to the
//! [resolver](crate::resolve)'s threads, because `getaddrinfo(3)` blocks and a worker must not.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::resolve::Lookup;

/// What can be turned into one or more socket addresses without blocking a worker.
///
/// Implemented for [`SocketAddr`] and its two kinds, `(IpAddr, u16)`, `(Ipv4Addr, u16)`, `(Ipv6Addr, u16)`, `&[SocketAddr]`, `str`
/// and `String` (`"host:port"`, `"[::1]:80"`), `(&str, u16)`, `(String, u16)`, and references to all of these. Text that is a numeric
/// address is parsed on the spot; a name is looked up with `getaddrinfo(3)` on a small pool of threads of its own (at most
/// 8, started on demand, gone after 10 idle seconds), never on a worker.
///
/// The trait is sealed: it can be named in bounds, not implemented.
///
/// # Errors
///
/// `InvalidInput` for text without a port; whatever the system's resolver says for a name; the error of `thread::spawn`, with a note,
/// when a name is to be resolved and no thread can be had.
pub trait ToSocketAddrs: sealed::Sealed {}

/// The addresses of `host`, in the resolver's order. What is an address already is answered at once; for the rest see [`ToSocketAddrs`].
///
/// [`TcpStream::connect`](crate::TcpStream::connect) and the others resolve by themselves.
///
/// # Errors
///
/// Those of [`ToSocketAddrs`].
///
/// # Cancel safety
///
/// Dropping the future takes a lookup that no thread has begun out of the queue.
///
/// # Examples
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// # let runtime = egret_executor::Builder::new_multi_thread().worker_threads(1).build()?;
/// # runtime.block_on(async {
/// for address in egret_net::lookup_host("localhost:80").await? {
///     assert!(address.ip().is_loopback());
/// }
/// # Ok(())
/// # })
/// # }
/// ```
pub async fn lookup_host<T>(host: T) -> io::Result<impl Iterator<Item = SocketAddr>>
where
    T: ToSocketAddrs,
{
    Ok(match host.resolve().await? {
        Addresses::One(address) => vec![address],
        Addresses::Many(addresses) => addresses,
    }
    .into_iter())
}

pub(crate) mod sealed {
    /// The working half of [`super::ToSocketAddrs`], out of reach so that it may change.
    pub trait Sealed {
        /// Starts the resolution. The future borrows nothing, so that dropping it at any time is harmless.
        #[doc(hidden)]
        fn resolve(&self) -> super::Resolve;
    }
}

/// The address in the kernel's answer.
pub(crate) fn of(answer: socket2::SockAddr) -> io::Result<SocketAddr> {
    answer.as_socket().ok_or_else(|| io::Error::other("the socket has no internet address"))
}

/// The error of a connect or a bind to nothing.
pub(crate) fn none() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "there is no address to try")
}

/// A resolution under way. Cancel safe: dropping it takes a lookup that no thread has begun out of the queue.
#[derive(Debug)]
#[doc(hidden)]
pub enum Resolve {
    /// It was an address.
    Known(Option<io::Result<Addresses>>),
    /// It is a name, on its way through `getaddrinfo(3)`.
    Asked(Lookup),
}

/// The outcome: most often exactly one address, which needs no allocation.
#[derive(Debug)]
#[doc(hidden)]
pub enum Addresses {
    /// One address.
    One(SocketAddr),
    /// Any number, none included.
    Many(Vec<SocketAddr>),
}

impl Addresses {
    pub(crate) fn as_slice(&self) -> &[SocketAddr] {
        match self {
            Addresses::One(address) => std::slice::from_ref(address),
            Addresses::Many(addresses) => addresses,
        }
    }
}

impl Resolve {
    fn known(address: impl Into<SocketAddr>) -> Self {
        Resolve::Known(Some(Ok(Addresses::One(address.into()))))
    }

    fn failed(error: io::Error) -> Self {
        Resolve::Known(Some(Err(error)))
    }

    fn host_and_port(host: &str, port: u16) -> Self {
        // The brackets of an IPv6 literal are URL syntax; people carry them along when they split "[::1]:80" themselves.
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        match bare.parse::<IpAddr>() {
            Ok(ip) => Self::known((ip, port)),
            Err(_) => match Lookup::start(host, port) {
                Ok(lookup) => Resolve::Asked(lookup),
                Err(error) => Self::failed(error),
            },
        }
    }

    fn text(text: &str) -> Self {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Self::known(address);
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Self::failed(invalid(text, "has no port: expected \"host:port\""));
        };
        match port.parse() {
            Ok(port) => Self::host_and_port(host, port),
            Err(_) => Self::failed(invalid(
                text,
                "has no valid port: expected \"host:port\" with a port from 0 to 65535",
            )),
        }
    }
}

fn invalid(text: &str, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("the address {text:?} {what}"))
}

impl Future for Resolve {
    type Output = io::Result<Addresses>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Resolve::Known(answer) => {
                Poll::Ready(answer.take().expect("a finished address resolution was polled again"))
            }
            Resolve::Asked(lookup) => Pin::new(lookup).poll(cx).map_ok(Addresses::Many),
        }
    }
}

macro_rules! known {
    ($($kind:ty),+) => {$(
        impl ToSocketAddrs for $kind {}
        impl sealed::Sealed for $kind {
            fn resolve(&self) -> Resolve {
                Resolve::known(*self)
            }
        }
    )+};
}

known!(SocketAddr, SocketAddrV4, SocketAddrV6, (IpAddr, u16), (Ipv4Addr, u16), (Ipv6Addr, u16));

impl ToSocketAddrs for [SocketAddr] {}
impl sealed::Sealed for [SocketAddr] {
    fn resolve(&self) -> Resolve {
        Resolve::Known(Some(Ok(Addresses::Many(self.to_vec()))))
    }
}

impl ToSocketAddrs for str {}
impl sealed::Sealed for str {
    fn resolve(&self) -> Resolve {
        Resolve::text(self)
    }
}

impl ToSocketAddrs for String {}
impl sealed::Sealed for String {
    fn resolve(&self) -> Resolve {
        Resolve::text(self)
    }
}

impl ToSocketAddrs for (&str, u16) {}
impl sealed::Sealed for (&str, u16) {
    fn resolve(&self) -> Resolve {
        Resolve::host_and_port(self.0, self.1)
    }
}

impl ToSocketAddrs for (String, u16) {}
impl sealed::Sealed for (String, u16) {
    fn resolve(&self) -> Resolve {
        Resolve::host_and_port(&self.0, self.1)
    }
}

impl<T: ToSocketAddrs + ?Sized> ToSocketAddrs for &T {}
impl<T: ToSocketAddrs + ?Sized> sealed::Sealed for &T {
    fn resolve(&self) -> Resolve {
        (**self).resolve()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `resolve` answers without a thread; `None` if it went to the resolver.
    fn at_once(what: impl ToSocketAddrs) -> Option<io::Result<Vec<SocketAddr>>> {
        match what.resolve() {
            Resolve::Known(answer) => Some(answer.unwrap().map(|found| found.as_slice().to_vec())),
            Resolve::Asked(_) => None,
        }
    }

    fn one(what: impl ToSocketAddrs) -> SocketAddr {
        let all = at_once(what).expect("no lookup is needed").unwrap();
        assert_eq!(all.len(), 1);
        all[0]
    }

    #[test]
    fn numeric_forms_need_no_thread() {
        let v4: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let v6: SocketAddr = "[::1]:80".parse().unwrap();
        assert_eq!(one(v4), v4);
        let borrowed = &v4;
        assert_eq!(one(borrowed), v4);
        assert_eq!(one("127.0.0.1:80"), v4);
        assert_eq!(one(String::from("127.0.0.1:80")), v4);
        assert_eq!(one(("127.0.0.1", 80)), v4);
        assert_eq!(one((String::from("127.0.0.1"), 80)), v4);
        assert_eq!(one((Ipv4Addr::LOCALHOST, 80)), v4);
        assert_eq!(one((IpAddr::from([127, 0, 0, 1]), 80)), v4);
        assert_eq!(one("[::1]:80"), v6);
        assert_eq!(one(("::1", 80)), v6);
        assert_eq!(one(("[::1]", 80)), v6);
        assert_eq!(one((Ipv6Addr::LOCALHOST, 80)), v6);
        assert_eq!(at_once([v4, v6].as_slice()).unwrap().unwrap(), [v4, v6]);
        assert_eq!(at_once([].as_slice()).unwrap().unwrap(), []);
    }

    #[test]
    fn text_without_a_usable_port_is_refused_with_a_reason() {
        for text in ["localhost", "localhost:", "localhost:http", "localhost:65536", "127.0.0.1", ""] {
            let error = at_once(text).expect("refused at once").unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{text}");
            assert!(error.to_string().contains("port"), "{error}");
        }
    }

    #[test]
    fn a_name_goes_to_the_resolver() {
        assert!(at_once("localhost:80").is_none());
        assert!(at_once(("localhost", 80)).is_none());
    }
}
