//! The addresses and options of a [`UdpSocket`]: one system call each.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::UdpSocket;
use crate::addr;

impl UdpSocket {
    /// The address that the socket is bound to, with the port that the kernel chose.
    ///
    /// # Errors
    ///
    /// Those of getsockname(2).
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        addr::of(self.socket.options().local_addr()?)
    }

    /// The address that the socket is [connected](Self::connect) to.
    ///
    /// # Errors
    ///
    /// `NotConnected` if it is not.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        addr::of(self.socket.options().peer_addr()?)
    }

    /// Whether the socket may send to broadcast addresses.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn broadcast(&self) -> io::Result<bool> {
        self.socket.options().broadcast()
    }

    /// Sets [`broadcast`](Self::broadcast).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_broadcast(&self, on: bool) -> io::Result<()> {
        self.socket.options().set_broadcast(on)
    }

    /// The time to live of the datagrams sent from this socket, in hops (IPv4).
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket.options().ttl_v4()
    }

    /// Sets [`ttl`](Self::ttl).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.socket.options().set_ttl_v4(ttl)
    }

    /// The type of service, the second byte of the IPv4 header.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn tos_v4(&self) -> io::Result<u32> {
        self.socket.options().tos_v4()
    }

    /// Sets [`tos_v4`](Self::tos_v4).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_tos_v4(&self, tos: u32) -> io::Result<()> {
        self.socket.options().set_tos_v4(tos)
    }

    /// The traffic class, which is to IPv6 what the type of service is to IPv4.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn tclass_v6(&self) -> io::Result<u32> {
        self.socket.options().tclass_v6()
    }

    /// Sets [`tclass_v6`](Self::tclass_v6).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_tclass_v6(&self, class: u32) -> io::Result<()> {
        self.socket.options().set_tclass_v6(class)
    }

    /// Whether what is sent to an IPv4 group is delivered to this machine, too.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn multicast_loop_v4(&self) -> io::Result<bool> {
        self.socket.options().multicast_loop_v4()
    }

    /// Sets [`multicast_loop_v4`](Self::multicast_loop_v4).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_multicast_loop_v4(&self, on: bool) -> io::Result<()> {
        self.socket.options().set_multicast_loop_v4(on)
    }

    /// How far, in hops, datagrams to IPv4 groups go. 1, the usual value, is the local network.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn multicast_ttl_v4(&self) -> io::Result<u32> {
        self.socket.options().multicast_ttl_v4()
    }

    /// Sets [`multicast_ttl_v4`](Self::multicast_ttl_v4).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_multicast_ttl_v4(&self, ttl: u32) -> io::Result<()> {
        self.socket.options().set_multicast_ttl_v4(ttl)
    }

    /// Whether what is sent to an IPv6 group is delivered to this machine, too.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn multicast_loop_v6(&self) -> io::Result<bool> {
        self.socket.options().multicast_loop_v6()
    }

    /// Sets [`multicast_loop_v6`](Self::multicast_loop_v6).
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2).
    pub fn set_multicast_loop_v6(&self, on: bool) -> io::Result<()> {
        self.socket.options().set_multicast_loop_v6(on)
    }

    /// Joins the IPv4 group `group` on the interface with the address `interface`; the unspecified address lets the kernel choose.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2): `InvalidInput` if `group` is no multicast address.
    pub fn join_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.socket.options().join_multicast_v4(&group, &interface)
    }

    /// Joins the IPv6 group `group` on the interface with the index `interface`; 0 lets the kernel choose.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2): `InvalidInput` if `group` is no multicast address.
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.options().join_multicast_v6(group, interface)
    }

    /// Leaves the IPv4 group `group` on the interface with the address `interface`; the unspecified address lets the kernel choose.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2): `InvalidInput` if `group` is no multicast address.
    pub fn leave_multicast_v4(&self, group: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        self.socket.options().leave_multicast_v4(&group, &interface)
    }

    /// Leaves the IPv6 group `group` on the interface with the index `interface`; 0 lets the kernel choose.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2): `InvalidInput` if `group` is no multicast address.
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        self.socket.options().leave_multicast_v6(group, interface)
    }

    /// The interface that the socket is bound to, by name.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2).
    pub fn device(&self) -> io::Result<Option<Vec<u8>>> {
        self.socket.options().device()
    }

    /// Sends and receives through the interface of this name only (`SO_BINDTODEVICE`); `None` undoes it.
    ///
    /// # Errors
    ///
    /// Those of setsockopt(2): `ENODEV` if there is no such interface, `PermissionDenied` to change it without `CAP_NET_RAW`.
    pub fn bind_device(&self, interface: Option<&[u8]>) -> io::Result<()> {
        self.socket.options().bind_device(interface)
    }
}
