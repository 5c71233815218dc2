//! A future around a future that counts and times its polls.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::kind::Kind;

/// Tells `kind` of each poll of a future.
pub(crate) struct Counted<F> {
    kind: &'static Kind,
    // Boxed, so that it can be polled without unsafe code.
    future: Pin<Box<F>>,
}

impl<F: Future> Counted<F> {
    pub(crate) fn new(kind: &'static Kind, future: F) -> Self {
        Self {
            kind,
            future: Box::pin(future),
        }
    }
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let began = self.kind.begin();
        let result = self.future.as_mut().poll(context);
        began.end();
        result
    }
}
