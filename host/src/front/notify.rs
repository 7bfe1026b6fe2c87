//! Tells a service manager that the host is ready or stopping, where `NOTIFY_SOCKET` names one (sd_notify(3)).

use std::{
    env,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
};

/// Sends one assignment, `READY=1` or `STOPPING=1`. A manager that does not listen is not waited for.
pub(crate) fn send(state: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&socket),
    };
    let sent = address
        .and_then(|address| Ok((UnixDatagram::unbound()?, address)))
        .and_then(|(datagram, address)| datagram.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!(%error, "NOTIFY_SOCKET cannot be told {state}");
    }
}
