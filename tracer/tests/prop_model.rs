//! What the model promises of any sequence of records: it takes it, its books balance, and every view of it can be
//! made.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

#[path = "common/strategy.rs"]
mod strategy;

use proptest::{collection::vec, prelude::*, test_runner::RngSeed};
use ratatui::{Terminal, backend::TestBackend};
use strategy::records;
use tracer::{
    model::{Model, Snapshot},
    record::{CounterKey, CounterSample, Record, Sample, ThreadSample},
    report::{self, Report},
    tui::{
        Options,
        app::{App, Msg},
        view,
    },
};
use tracer_common::{
    Edge, Nanos, Pid, State, SyscallNr, Table as _, ThreadRow, Tid,
    table::{FileKey, FileRow, Files},
};

fn fold(records: &[Record]) -> Snapshot {
    let mut model = Model::new();
    records.iter().for_each(|record| model.apply(record));
    model.snapshot()
}

fn edges() -> impl Strategy<Value = Edge> {
    prop_oneof![
        Just(Edge::SwitchIn),
        prop_oneof![Just(State::RUNNABLE), Just(State::THROTTLED)].prop_map(Edge::Wakeup),
        (3..12u8).prop_map(|state| Edge::SwitchOut(State(state))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_sequence_of_records_can_be_folded_and_shown(all in vec(records(), 0..200)) {
        let snapshot = fold(&all);
        prop_assert!(!report::text(&snapshot).is_empty());
        let lost = snapshot.quality.lost_total();
        prop_assert!(snapshot.quality.lost.iter().all(|(_, count)| lost >= *count));
        let json = Report::new(&snapshot).json();
        prop_assert!(json.is_ok_and(|json| json.contains("tracer.report/1")));
    }

    #[test]
    fn the_dashboard_draws_whatever_was_folded(all in vec(records(), 0..100), width in 1..150u16, height in 1..50u16) {
        let options = Options { color: true, follow: true, title: "live".into() };
        let mut app = App::new(options, None);
        app.update(Msg::Snapshot(Arc::new(fold(&all))));
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        prop_assert!(terminal.draw(|frame| view::draw(frame, &app)).is_ok());
    }

    #[test]
    fn a_prefix_says_what_was_known_then(all in vec(records(), 1..100), at in 0..100usize) {
        let at = at.min(all.len());
        let mut model = Model::new();
        for (index, record) in all.iter().enumerate() {
            if index == at {
                prop_assert_eq!(model.snapshot(), fold(&all[..at]), "a snapshot changes nothing");
            }
            model.apply(record);
        }
    }

    #[test]
    fn rows_sum_up_whenever_they_are_forgotten_and_whenever_the_clock_ticks(
        steps in vec((0..3u32, 0..1_000u64, any::<bool>(), any::<bool>()), 0..100),
    ) {
        let mut rows = [FileRow::default(); 3];
        let mut total = [0; 3];
        let mut all = Vec::new();
        let mut seconds = 0;
        for (fd, bytes, last, tick) in steps {
            let row = &mut rows[fd as usize];
            row.reads += 1;
            row.read_bytes += bytes;
            total[fd as usize] += bytes;
            let words = [(0, row.reads), (1, row.read_bytes)];
            all.push(Record::Sample(Sample::Counter(CounterSample {
                table: Files::NUMBER,
                key: CounterKey::of(&FileKey { pid: Pid(1), fd }),
                words: words.into_iter().filter(|&(_, word)| word != 0).collect(),
                last,
            })));
            if last {
                *row = FileRow::default();
            }
            if tick {
                seconds += 1;
                all.push(Record::Tick(Nanos(seconds)));
            }
        }
        all.push(Record::Tick(Nanos(seconds + 1)));
        let got = fold(&all);
        prop_assert_eq!(got.quality.inconsistent, 0);
        for view in &got.files {
            prop_assert_eq!(view.read_bytes, total[view.fd as usize]);
        }
        let listed: u64 = got.files.iter().map(|view| view.read_bytes).sum();
        prop_assert_eq!(listed, total.iter().sum::<u64>());
    }

    #[test]
    fn busy_and_waiting_time_is_wall_time_whenever_the_clock_ticks(
        steps in vec((edges(), 1..5_000_000u64, any::<bool>()), 0..200),
    ) {
        let (pid, tid, first) = (Pid(1), Tid(2), Nanos(1_000));
        let mut row = ThreadRow::new(pid, first, State::UNKNOWN, SyscallNr::UNSEEN);
        let mut at = first;
        let mut all = Vec::new();
        let sample = |at: Nanos, row: &ThreadRow| {
            let times = row.times_at(at);
            Record::Sample(Sample::Thread(ThreadSample { at, pid, tid, first, state: row.state(), times, ..ThreadSample::default() }))
        };
        for (edge, later, tick) in steps {
            at = at.plus(Nanos(later));
            prop_assert!(row.apply(edge, at));
            prop_assert!(row.is_consistent());
            if tick {
                all.extend([sample(at, &row), Record::Tick(at)]);
            }
        }
        at = at.plus(Nanos(7));
        let often = fold(&[all, vec![sample(at, &row), Record::Tick(at)]].concat());
        let once = fold(&[sample(at, &row), Record::Tick(at)]);
        prop_assert_eq!(often.quality.inconsistent, 0);
        prop_assert_eq!(often.threads[0].wall, Nanos(at.0 - first.0));
        prop_assert_eq!(often.threads[0].times, once.threads[0].times);
    }
}
