//! Names of Unix sockets between the standard library's type and socket2's.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr;
use std::path::Path;

use socket2::SockAddr;

/// The name in the kernel's answer: a path, an abstract name, or none.
pub(crate) fn of(answer: SockAddr) -> io::Result<SocketAddr> {
    if let Some(name) = answer.as_abstract_namespace() {
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(answer.as_pathname().unwrap_or(Path::new("")))
}

/// The name for the kernel. An unnamed one is for binding only: the kernel chooses.
pub(crate) fn for_kernel(address: &SocketAddr) -> io::Result<SockAddr> {
    match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => SockAddr::unix(path),
        (None, Some(name)) => {
            let marked: Vec<u8> = [b"\0", name].concat();
            SockAddr::unix(Path::new(OsStr::from_bytes(&marked)))
        }
        (None, None) => SockAddr::unix(""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_both_ways() {
        let path = SocketAddr::from_pathname("/tmp/a name").unwrap();
        assert_eq!(of(for_kernel(&path).unwrap()).unwrap().as_pathname(), path.as_pathname());
        let name = SocketAddr::from_abstract_name(b"with\0zero").unwrap();
        assert_eq!(of(for_kernel(&name).unwrap()).unwrap().as_abstract_name(), Some(&b"with\0zero"[..]));
        let none = SocketAddr::from_pathname("").unwrap();
        assert!(of(for_kernel(&none).unwrap()).unwrap().is_unnamed());
    }
}
