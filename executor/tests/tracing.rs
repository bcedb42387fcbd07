//! Tasks as spans: what a subscriber that reads tokio's spans is told of egret's.

mod support;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use egret_executor::{Builder, spawn, task};
use support::{bounded, eventually};
use tracing_core::{
    Event, Metadata, Subscriber,
    dispatcher::{Dispatch, set_global_default},
    field::{Field, Visit},
    span::{Attributes, Current, Id, Record},
};

/// Keeps everything, of the process: spans are made and entered on workers.
#[derive(Default)]
struct Kept {
    next: AtomicU64,
    spans: Mutex<HashMap<u64, Span>>,
}

#[derive(Clone, Debug, Default)]
struct Span {
    name: &'static str,
    target: String,
    fields: HashMap<&'static str, String>,
    entered: usize,
    exited: usize,
    wakes: usize,
    closed: bool,
}

#[derive(Default)]
struct Fields(HashMap<&'static str, String>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

struct Keeper(Arc<Kept>);

impl Keeper {
    fn with(&self, id: u64, f: impl FnOnce(&mut Span)) {
        f(self.0.spans.lock().unwrap().get_mut(&id).unwrap());
    }
}

impl Subscriber for Keeper {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        span.record(&mut fields);
        let id = self.0.next.fetch_add(1, Ordering::Relaxed) + 1;
        let (name, target) = (span.metadata().name(), span.metadata().target().to_owned());
        let span = Span { name, target, fields: fields.0, ..Span::default() };
        self.0.spans.lock().unwrap().insert(id, span);
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if event.metadata().target() != "tokio::task::waker" {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        assert_eq!(fields.0["op"], "waker.wake");
        self.with(fields.0["task.id"].parse().unwrap(), |span| span.wakes += 1);
    }

    fn enter(&self, span: &Id) {
        self.with(span.into_u64(), |span| span.entered += 1);
    }

    fn exit(&self, span: &Id) {
        self.with(span.into_u64(), |span| span.exited += 1);
    }

    fn try_close(&self, span: Id) -> bool {
        self.with(span.into_u64(), |span| span.closed = true);
        true
    }

    fn current_span(&self) -> Current {
        Current::none()
    }
}

#[test]
fn a_task_is_a_span_as_tokio_console_reads_it() {
    bounded(|| {
        let kept = Arc::new(Kept::default());
        set_global_default(Dispatch::new(Keeper(kept.clone()))).unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let line = line!() + 1;
        let plain = runtime.spawn(async {
            task::yield_now().await;
            spawn(async { panic!("on purpose") }).await.unwrap_err();
        });
        let id = plain.id();
        runtime.block_on(plain).unwrap();
        let named = task::Builder::new().name("fisher").spawn_on(async {}, runtime.handle()).unwrap();
        runtime.block_on(named).unwrap();
        runtime.block_on(runtime.spawn_blocking(|| {})).unwrap();

        let all = || kept.spans.lock().unwrap().values().cloned().collect::<Vec<_>>();
        eventually("they are closed", || all().iter().all(|span| span.closed));
        let all = all();
        assert_eq!(all.len(), 4, "{all:?}");
        for span in &all {
            assert_eq!((span.name, span.target.as_str()), ("runtime.spawn", "tokio::task"));
            assert!(span.entered > 0 && span.entered == span.exited, "{span:?}");
            assert!(span.fields["size.bytes"].parse::<usize>().is_ok(), "{span:?}");
        }
        let of = |field: &str, value: &str| all.iter().find(|span| span.fields[field] == value).unwrap();
        let plain = of("task.id", &id.to_string());
        assert_eq!((plain.fields["kind"].as_str(), plain.fields["task.name"].as_str()), ("task", ""));
        assert_eq!(
            (plain.fields["loc.file"].as_str(), &plain.fields["loc.line"]),
            (file!(), &line.to_string())
        );
        // Spawned, yielded, woken by the task it waits for.
        assert_eq!((plain.entered, plain.wakes), (3, 2), "{plain:?}");
        assert_eq!(of("task.name", "fisher").fields["kind"], "task");
        assert_eq!(of("kind", "blocking").entered, 1);
    });
}
