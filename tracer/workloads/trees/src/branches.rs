//! Tasks that wait for several things at a time.

use std::{
    future::{Future, pending, ready},
    pin::Pin,
    time::Duration,
};

use futures_util::{
    StreamExt as _,
    future::{Either, FutureExt as _, join_all, select},
    stream::FuturesUnordered,
};
use tokio::time::sleep;

use crate::truth::{at, parks, spawn};

pub fn start() {
    spawn("joined", 2, joined());
    spawn("half_joined", 1, half_joined());
    spawn("try_joined", 2, try_joined());
    spawn("selected", 2, selected());
    spawn("unordered", 3, unordered());
    spawn("all_joined", 2, all_joined());
    spawn("many_joined", 40, many_joined());
    spawn("mapped", 1, mapped());
    spawn("either", 1, either(true));
    spawn("selected_by_library", 2, selected_by_library());
    spawn("boxes", 2, boxes());
}

async fn joined() {
    at!("joined", "joined");
    tokio::join!(left("joined", 0), right("joined", 1));
}

async fn half_joined() {
    at!("half_joined", "half_joined");
    tokio::join!(ready(()), left("half_joined", 0));
}

async fn try_joined() {
    let (one, other) = (left("try_joined", 0), right("try_joined", 1));
    at!("try_joined", "try_joined");
    let _ = tokio::try_join!(fine(one), fine(other));
}

fn fine(future: impl Future<Output = ()>) -> impl Future<Output = Result<(), ()>> {
    future.map(Ok)
}

async fn selected() {
    at!("selected", "selected");
    tokio::select! {
        () = left("selected", 0) => {}
        () = right("selected", 1) => {}
        else => {}
    }
}

async fn unordered() {
    let mut set: FuturesUnordered<_> = (0..3).map(|way| left("unordered", way)).collect();
    at!("unordered", "unordered");
    set.next().await;
}

async fn all_joined() {
    let both = (0..2).map(|way| right("all_joined", way));
    at!("all_joined", "all_joined");
    join_all(both).await;
}

async fn many_joined() {
    let many = (0..40).map(|way| right("many_joined", way));
    at!("many_joined", "many_joined");
    join_all(many).await;
}

async fn mapped() {
    at!("mapped", "mapped");
    left("mapped", 0).map(|()| 7).await;
}

async fn either(left_one: bool) {
    let future = if left_one {
        Either::Left(left("either", 0))
    } else {
        Either::Right(right("either", 0))
    };
    at!("either", "either");
    future.await;
}

async fn selected_by_library() {
    let (one, other) = (
        left("selected_by_library", 0),
        right("selected_by_library", 1),
    );
    at!("selected_by_library", "selected_by_library");
    select(Box::pin(one), Box::pin(other)).await;
}

async fn boxes() {
    let boxes: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> =
        vec![Box::pin(left("boxes", 0)), Box::pin(right("boxes", 1))];
    at!("boxes", "boxes");
    join_all(boxes).await;
}

async fn left(name: &'static str, way: usize) {
    parks!(name, way, "left");
    pending::<()>().await;
}

async fn right(name: &'static str, way: usize) {
    parks!(name, way, "right");
    sleep(Duration::from_secs(3_600)).await;
}
