//! The admin port's connections: as many as may be, each with its time for a request's head and for taking the answer.
//!
//! Without: what is asked, and the time for a body, which the handlers know. Beyond `open_connections_max` clients wait in the
//! kernel's queue; as every connection has its time, there is room again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::AdminContext;

/// Serves as long as the runtime runs, or until the place is another's: connections that are there go on.
pub(super) async fn serve(listener: TcpListener, router: Router, context: AdminContext) {
    let mut taken = context.taken.clone();
    tokio::select! {
        // An error means that it never will be.
        Ok(_) = taken.wait_for(|taken| *taken) => {}
        () = accept(listener, router, context) => {}
    }
}

async fn accept(listener: TcpListener, router: Router, context: AdminContext) {
    let places = Arc::new(Semaphore::new(context.config().admin.open_connections_max as usize));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new());
    loop {
        let place = places.clone().acquire_owned().await.expect("the places are never closed");
        let accepted = listener.accept().await;
        let config = context.config();
        // Also how long a connection may stay without a request.
        http.header_read_timeout(Duration::from_millis(config.admin.head_timeout_ms.into()));
        let stream = match accepted.and_then(|(stream, _)| bounded(stream, config.limits.send_timeout_ms)) {
            Ok(stream) => stream,
            Err(error) => {
                rest_after(&error).await;
                continue;
            }
        };
        let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            // How a connection ended is its client's business: it broke off, or was late.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection of the admin port ended");
            }
            drop(place);
        });
    }
}

/// Whoever does not take its answer is reset, as on the clients' port.
fn bounded(stream: TcpStream, send_timeout_ms: u32) -> io::Result<TcpStream> {
    SockRef::from(&stream).set_tcp_user_timeout(Some(Duration::from_millis(send_timeout_ms.into())))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A client that is gone before it was accepted is none of ours; want of descriptors passes, and trying at once would spin.
async fn rest_after(error: &io::Error) {
    let gone = [io::ErrorKind::ConnectionAborted, io::ErrorKind::ConnectionReset, io::ErrorKind::ConnectionRefused];
    if !gone.contains(&error.kind()) {
        tracing::warn!(%error, "the admin port could not accept a connection");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
