//! The HTTP service: a lookup, a wait, and a little work.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::ListenerExt;
use serde_json::{Value, json};

use crate::plants;
use crate::truth::Truth;

pub(crate) const ITEMS: u32 = 1000;
const DELAY: Duration = Duration::from_millis(3);
const DIGEST_BYTES: usize = 64 << 10;

#[derive(Clone)]
struct Service {
    items: Arc<BTreeMap<u32, Value>>,
    truth: Arc<Truth>,
}

/// Must be called inside the runtime.
pub(crate) fn serve(listener: std::net::TcpListener, truth: &Arc<Truth>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let connections = Arc::clone(truth);
    let listener = tokio::net::TcpListener::from_std(listener)?
        .tap_io(move |_stream| connections.connections.add(1));
    let router = Router::new()
        .route("/item/{id}", get(item))
        .route("/delay", get(delay))
        .route("/digest", get(digest))
        .fallback(nothing_here)
        .method_not_allowed_fallback(nothing_here)
        .with_state(Service {
            items: Arc::new(items()),
            truth: Arc::clone(truth),
        });
    plants::spawn_counted(truth, async move {
        // Never ends by itself; the runtime takes it down.
        let _ended = axum::serve(listener, router).into_future().await;
    });
    Ok(())
}

fn items() -> BTreeMap<u32, Value> {
    (0..ITEMS)
        .map(|id| {
            (
                id,
                json!({ "id": id, "name": format!("item {id}"), "stock": id % 17 }),
            )
        })
        .collect()
}

async fn item(State(service): State<Service>, Path(id): Path<String>) -> impl IntoResponse {
    match id.parse().ok().and_then(|id: u32| service.items.get(&id)) {
        Some(item) => {
            service.truth.routes.item.add(1);
            Ok(as_json(item))
        }
        None => {
            service.truth.failed.add(1);
            Err(StatusCode::NOT_FOUND)
        }
    }
}

async fn delay(State(service): State<Service>) -> impl IntoResponse {
    tokio::time::sleep(DELAY).await;
    service.truth.routes.delay.add(1);
    as_json(&json!({ "waited_ms": DELAY.as_millis() as u64 }))
}

async fn digest(State(service): State<Service>) -> impl IntoResponse {
    let digest = plants::digest(DIGEST_BYTES);
    service.truth.routes.digest.add(1);
    as_json(&json!({ "digest": format!("{digest:016x}") }))
}

async fn nothing_here(State(service): State<Service>) -> impl IntoResponse {
    service.truth.failed.add(1);
    StatusCode::NOT_FOUND
}

fn as_json(body: &Value) -> impl IntoResponse + use<> {
    (
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
}
