//! What the sockets promise at compile time, beyond `types.rs`: unwind safety, as tokio's have it.

use std::panic::{RefUnwindSafe, UnwindSafe};

use egret_net::{
    Incoming, OwnedReadHalf, OwnedWriteHalf, ReadHalf, ReuniteError, TcpListener, TcpSocket, TcpStream,
    UdpSocket, UnixDatagram, UnixListener, UnixStream, WriteHalf,
};

#[test]
fn sockets_may_cross_a_caught_panic() {
    fn unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
    macro_rules! all {
        ($($kind:ty),+) => {$( unwind_safe::<$kind>(); )+};
    }
    all!(
        TcpSocket,
        TcpListener,
        TcpStream,
        ReadHalf<'_>,
        WriteHalf<'_>,
        OwnedReadHalf,
        OwnedWriteHalf,
        Incoming<'_>,
        ReuniteError,
        UdpSocket,
        UnixStream,
        UnixListener,
        UnixDatagram
    );
}
