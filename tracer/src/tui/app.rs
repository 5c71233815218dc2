//! What the dashboard shows, and how that changes: keys and snapshots in, state and wishes out. No terminal, no
//! clock: how long a view is frozen is read from the snapshots.

use std::sync::Arc;

use tracer_common::Nanos;

use super::{
    feed::{Command, Options, Transport},
    input::{self, Action, Focus, Key},
    list::{
        CpuList, FileList, FindingList, Listed, LockList, LoopList, MemoryList, Period, Row, Step,
        SyscallList, TaskList, ThreadList,
    },
    view,
};
use crate::model::{Snapshot, TaskTypeView};

/// A view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Where the time goes, what happens now, the tasks and system calls that take longest.
    #[default]
    Overview,
    /// Types of tasks; the page of one of them.
    Tasks,
    /// All threads with all states.
    Threads,
    /// Futexes: who waits, who wakes; and where long waits come from.
    Locks,
    /// All system calls.
    Syscalls,
    /// Descriptors and what goes through them.
    Io,
    /// Memory: how much, how fast it grows, who asks for it.
    Memory,
    /// CPUs: how many there are, who uses them, with which code.
    Cpu,
    /// Event loops: how busy they are, how long their iterations take.
    Loops,
    /// What is wrong, with evidence and remedy.
    Findings,
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Msg {
    /// A newer snapshot.
    Snapshot(Arc<Snapshot>),
    /// The replay moved.
    Transport(Transport),
    /// No snapshot will come any more.
    SessionEnded,
    /// A key.
    Key(Key),
    /// The terminal has this size now.
    Resize {
        /// Cells across.
        columns: u16,
        /// Cells down.
        rows: u16,
    },
}

/// The help, while it is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Help {
    /// Lines scrolled.
    pub scroll: u16,
}

/// The page of a type of task, while it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskPage {
    /// The type.
    pub id: <TaskTypeView as Row>::Id,
    /// Lines scrolled.
    pub scroll: u16,
}

/// Longest filter: longer than any name.
const FILTER_CHARS: usize = 64;

/// The state of the dashboard.
#[derive(Clone, Debug)]
pub struct App {
    /// How to show it.
    pub options: Options,
    /// The view on the screen.
    pub view: View,
    /// The time that numbers are about.
    pub period: Period,
    /// The list of types of tasks.
    pub tasks: TaskList,
    /// The page of one of them, when it is open: then it is the view.
    pub task_page: Option<TaskPage>,
    /// The list of threads.
    pub threads: ThreadList,
    /// The list of futexes.
    pub locks: LockList,
    /// The list of system calls.
    pub syscalls: SyscallList,
    /// The list of descriptors.
    pub files: FileList,
    /// The list of stacks that asked for memory.
    pub memory: MemoryList,
    /// The list of stacks that were met running.
    pub cpu: CpuList,
    /// The list of event loops.
    pub loops: LoopList,
    /// The list of findings.
    pub findings: FindingList,
    /// A filter is being typed.
    pub typing: bool,
    /// The help, when it is open.
    pub help: Option<Help>,
    /// The reader wants to leave.
    pub quit: bool,
    /// No snapshot will come any more.
    pub session_ended: bool,
    /// Where the replay stands; `None` in a live session.
    pub transport: Option<Transport>,
    latest: Option<Arc<Snapshot>>,
    frozen: Option<Arc<Snapshot>>,
    size: (u16, u16),
}

impl App {
    /// A dashboard that has seen nothing yet; `transport` makes it one of a replay.
    #[must_use]
    pub fn new(options: Options, transport: Option<Transport>) -> Self {
        Self {
            options,
            view: View::default(),
            period: Period::default(),
            tasks: TaskList::default(),
            task_page: None,
            threads: ThreadList::default(),
            locks: LockList::default(),
            syscalls: SyscallList::default(),
            files: FileList::default(),
            memory: MemoryList::default(),
            cpu: CpuList::default(),
            loops: LoopList::default(),
            findings: FindingList::default(),
            typing: false,
            help: None,
            quit: false,
            session_ended: false,
            transport,
            latest: None,
            frozen: None,
            size: (80, 24),
        }
    }

    /// Takes in what happened. What the reader wants of the replay is returned, everything else is in the state.
    pub fn update(&mut self, msg: Msg) -> Option<Command> {
        match msg {
            // A default snapshot is what a channel holds before anything is known, and what a replay shows that
            // went back to its start.
            Msg::Snapshot(snapshot) if *snapshot == Snapshot::default() => {
                if self.transport.is_some() {
                    self.latest = None;
                }
            }
            Msg::Snapshot(snapshot) => self.latest = Some(snapshot),
            Msg::Transport(transport) => self.transport = Some(transport),
            Msg::SessionEnded => self.session_ended = true,
            Msg::Resize { columns, rows } => self.size = (columns, rows),
            Msg::Key(key) => return self.key(key),
        }
        None
    }

    /// The snapshot to show: the frozen one, else the newest; `None` when nothing is known yet.
    #[must_use]
    pub fn shown(&self) -> Option<&Snapshot> {
        self.frozen.as_deref().or(self.latest.as_deref())
    }

    /// How long the view has been frozen; `None` when it is not.
    #[must_use]
    pub fn frozen_for(&self) -> Option<Nanos> {
        let frozen = self.frozen.as_ref()?;
        Some(
            self.latest
                .as_ref()
                .and_then(|latest| latest.now.since(frozen.now))
                .unwrap_or_default(),
        )
    }

    /// What keys are about.
    #[must_use]
    pub fn focus(&self) -> Focus {
        if self.help.is_some() {
            Focus::Help
        } else if self.typing {
            Focus::Filter
        } else {
            match (self.transport.is_some(), self.task_page.is_some()) {
                (false, false) => Focus::Live,
                (false, true) => Focus::LivePage,
                (true, false) => Focus::Replay,
                (true, true) => Focus::ReplayPage,
            }
        }
    }

    /// The filter of the list on the screen.
    #[must_use]
    pub fn filter(&self) -> &str {
        self.list().filter()
    }

    /// The list on the screen.
    fn list(&self) -> &dyn Listed {
        match self.view {
            View::Overview | View::Threads => &self.threads,
            View::Tasks => &self.tasks,
            View::Locks => &self.locks,
            View::Syscalls => &self.syscalls,
            View::Io => &self.files,
            View::Memory => &self.memory,
            View::Cpu => &self.cpu,
            View::Loops => &self.loops,
            View::Findings => &self.findings,
        }
    }

    fn list_mut(&mut self) -> &mut dyn Listed {
        match self.view {
            View::Overview | View::Threads => &mut self.threads,
            View::Tasks => &mut self.tasks,
            View::Locks => &mut self.locks,
            View::Syscalls => &mut self.syscalls,
            View::Io => &mut self.files,
            View::Memory => &mut self.memory,
            View::Cpu => &mut self.cpu,
            View::Loops => &mut self.loops,
            View::Findings => &mut self.findings,
        }
    }

    fn key(&mut self, key: Key) -> Option<Command> {
        match (input::action(self.focus(), key), key) {
            (Some(action), _) => return self.act(action),
            (None, Key::Char(c)) if self.typing => {
                if self.filter().chars().count() < FILTER_CHARS {
                    self.list_mut().filter_mut().push(c);
                }
            }
            (None, _) => {}
        }
        None
    }

    fn act(&mut self, action: Action) -> Option<Command> {
        match action {
            Action::Show(view) => (self.view, self.task_page) = (view, None),
            Action::Select(step) if self.task_page.is_some() => self.scroll_page(step),
            Action::Select(step) => self.select(step),
            Action::Open => self.open(),
            Action::Close => self.task_page = None,
            Action::Filter => self.typing = true,
            Action::KeepFilter => self.typing = false,
            Action::DropFilter => {
                self.typing = false;
                self.list_mut().filter_mut().clear();
            }
            Action::Erase => {
                self.list_mut().filter_mut().pop();
            }
            Action::EraseAll => self.list_mut().filter_mut().clear(),
            Action::Clear => self.clear(),
            Action::NextSort => self.list_mut().sort_by_next(),
            Action::Reverse => self.list_mut().reverse(),
            Action::SwitchPeriod => self.period = self.period.other(),
            Action::Freeze => {
                self.frozen = if self.frozen.is_some() {
                    None
                } else {
                    self.latest.clone()
                }
            }
            Action::Replay(command) => return Some(command),
            Action::Help => {
                self.help = if self.help.is_some() {
                    None
                } else {
                    Some(Help::default())
                }
            }
            Action::Scroll(step) => self.scroll(step),
            Action::Quit => self.quit = true,
        }
        None
    }

    /// First the filter, then the selection: what was done last is taken back first.
    fn clear(&mut self) {
        if !self.filter().is_empty() {
            self.list_mut().filter_mut().clear();
        } else {
            self.list_mut().select_nothing();
        }
    }

    fn select(&mut self, step: Step) {
        let page = self.page();
        let Some(snapshot) = self.frozen.as_ref().or(self.latest.as_ref()).cloned() else {
            return;
        };
        match self.view {
            View::Overview => {
                let rows = self.threads.living(&snapshot, self.period);
                self.threads.step(step, page, &rows);
            }
            View::Tasks => {
                let rows = self.tasks.rows(&snapshot, self.period);
                self.tasks.step(step, page, &rows);
            }
            View::Threads => {
                let rows = self.threads.rows(&snapshot, self.period);
                self.threads.step(step, page, &rows);
            }
            View::Locks => {
                let rows = self.locks.rows(&snapshot, self.period);
                self.locks.step(step, page, &rows);
            }
            View::Syscalls => {
                let rows = self.syscalls.rows(&snapshot, self.period);
                self.syscalls.step(step, page, &rows);
            }
            View::Io => {
                let rows = self.files.rows(&snapshot, self.period);
                self.files.step(step, page, &rows);
            }
            View::Memory => {
                let rows = self.memory.rows(&snapshot);
                self.memory.step(step, page, &rows);
            }
            View::Cpu => {
                let rows = self.cpu.rows(&snapshot);
                self.cpu.step(step, page, &rows);
            }
            View::Loops => {
                let rows = self.loops.rows(&snapshot, self.period);
                self.loops.step(step, page, &rows);
            }
            View::Findings => {
                let rows = self.findings.rows(&snapshot);
                self.findings.step(step, page, &rows);
            }
        }
    }

    /// Opens the page of the selected type of task, of the first one when none is.
    fn open(&mut self) {
        let Some(snapshot) = self.shown().filter(|_| self.view == View::Tasks) else {
            return;
        };
        let rows = self.tasks.rows(snapshot, self.period);
        let at = self.tasks.position(&rows).unwrap_or(0);
        let page = rows.get(at).map(|view| TaskPage {
            id: view.id(),
            scroll: 0,
        });
        self.task_page = page;
    }

    fn scroll(&mut self, step: Step) {
        let (columns, rows) = self.size;
        let most = view::help::overflow(self, columns, rows);
        let page = self.page();
        if let Some(help) = &mut self.help {
            help.scroll = scrolled(help.scroll, step, page, most);
        }
    }

    fn scroll_page(&mut self, step: Step) {
        let (columns, rows) = self.size;
        let most = view::task::overflow(self, columns, rows);
        let page = self.page();
        if let Some(open) = &mut self.task_page {
            open.scroll = scrolled(open.scroll, step, page, most);
        }
    }

    /// Rows of a screenful: those between header and footer, less two to keep one's place.
    fn page(&self) -> usize {
        usize::from(self.size.1).saturating_sub(8).max(1)
    }
}

/// Where a text that is scrolled so far is after a step.
fn scrolled(scroll: u16, step: Step, page: usize, most: u16) -> u16 {
    let page = page as u16;
    let to = match step {
        Step::Up => scroll.saturating_sub(1),
        Step::Down => scroll.saturating_add(1),
        Step::PageUp => scroll.saturating_sub(page),
        Step::PageDown => scroll.saturating_add(page),
        Step::First => 0,
        Step::Last => u16::MAX,
    };
    to.min(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{SyscallView, ThreadView},
        tui::{
            demo,
            feed::{Pace, SeekTo},
        },
    };
    use tracer_common::{Pid, SyscallNr, Tid};

    fn snapshot(now_s: u64) -> Msg {
        let thread = |tid| ThreadView {
            pid: Some(Pid(1)),
            tid: Some(Tid(tid)),
            ..ThreadView::default()
        };
        let call = |nr| SyscallView {
            nr: SyscallNr(nr),
            name: format!("call{nr}"),
            ..SyscallView::default()
        };
        Msg::Snapshot(Arc::new(Snapshot {
            now: Nanos(now_s * 1_000_000_000),
            threads: (1..=3).map(thread).collect(),
            syscalls: (1..=2).map(call).collect(),
            ..Snapshot::default()
        }))
    }

    fn live() -> App {
        let options = Options {
            color: false,
            follow: true,
            title: "live".to_owned(),
        };
        App::new(options, None)
    }

    fn press(app: &mut App, keys: &str) -> Vec<Command> {
        keys.chars()
            .filter_map(|c| app.update(Msg::Key(Key::Char(c))))
            .collect()
    }

    fn selected(app: &App) -> Option<usize> {
        let snapshot = app.shown().unwrap();
        match app.view {
            View::Overview => app
                .threads
                .position(&app.threads.living(snapshot, app.period)),
            View::Tasks => app.tasks.position(&app.tasks.rows(snapshot, app.period)),
            View::Threads => app
                .threads
                .position(&app.threads.rows(snapshot, app.period)),
            View::Locks => app.locks.position(&app.locks.rows(snapshot, app.period)),
            View::Syscalls => app
                .syscalls
                .position(&app.syscalls.rows(snapshot, app.period)),
            View::Io => app.files.position(&app.files.rows(snapshot, app.period)),
            View::Memory => app.memory.position(&app.memory.rows(snapshot)),
            View::Cpu => app.cpu.position(&app.cpu.rows(snapshot)),
            View::Loops => app.loops.position(&app.loops.rows(snapshot, app.period)),
            View::Findings => app.findings.position(&app.findings.rows(snapshot)),
        }
    }

    #[test]
    fn a_default_snapshot_means_that_nothing_is_known() {
        let mut app = live();
        app.update(Msg::Snapshot(Arc::default()));
        assert!(app.shown().is_none());
        press(&mut app, "jkGg sSw/x");
        app.update(snapshot(1));
        assert!(app.shown().is_some());
    }

    #[test]
    fn space_freezes_the_view_and_the_data_goes_on() {
        let mut app = live();
        app.update(snapshot(10));
        assert_eq!(
            press(&mut app, " "),
            [],
            "the recording does not hear of it"
        );
        app.update(snapshot(22));
        assert_eq!(app.shown().unwrap().now, Nanos(10_000_000_000));
        assert_eq!(app.frozen_for(), Some(Nanos(12_000_000_000)));
        press(&mut app, " ");
        assert_eq!(app.shown().unwrap().now, Nanos(22_000_000_000));
        assert_eq!(app.frozen_for(), None);
    }

    #[test]
    fn the_last_snapshot_stays_when_the_session_ends() {
        let mut app = live();
        app.update(snapshot(10));
        app.update(Msg::SessionEnded);
        assert!(app.session_ended && !app.quit && app.shown().is_some());
    }

    #[test]
    fn in_a_replay_keys_become_commands() {
        let mut app = App::new(live().options, Some(Transport::default()));
        app.update(snapshot(10));
        let step = Nanos(5_000_000_000);
        assert_eq!(
            press(&mut app, " +=-"),
            [
                Command::TogglePause,
                Command::Speed(Pace::Faster),
                Command::Speed(Pace::Faster),
                Command::Speed(Pace::Slower)
            ]
        );
        let seek = |app: &mut App, key| app.update(Msg::Key(key));
        assert_eq!(
            seek(&mut app, Key::Left),
            Some(Command::Seek(SeekTo::Back(step)))
        );
        assert_eq!(
            seek(&mut app, Key::Right),
            Some(Command::Seek(SeekTo::Forward(step)))
        );
        assert_eq!(
            seek(&mut app, Key::Home),
            Some(Command::Seek(SeekTo::Start))
        );
        assert_eq!(seek(&mut app, Key::End), Some(Command::Seek(SeekTo::End)));
        assert_eq!(app.frozen_for(), None);
        app.update(Msg::Transport(Transport {
            paused: true,
            ..Transport::default()
        }));
        assert!(app.transport.is_some_and(|transport| transport.paused));
    }

    #[test]
    fn a_replay_at_its_start_shows_no_numbers_of_a_later_time() {
        let mut app = App::new(live().options, Some(Transport::default()));
        app.update(snapshot(10));
        app.update(Msg::Snapshot(Arc::default()));
        assert!(app.shown().is_none());
        let mut app = live();
        app.update(snapshot(10));
        app.update(Msg::Snapshot(Arc::default()));
        assert!(app.shown().is_some(), "a live session never goes back");
    }

    #[test]
    fn each_list_has_its_own_selection_order_and_filter() {
        let mut app = live();
        app.update(snapshot(1));
        press(&mut app, "jj");
        assert_eq!(selected(&app), Some(1));
        press(&mut app, "5G");
        assert_eq!(selected(&app), Some(1));
        press(&mut app, "sS/all2");
        assert!(app.typing);
        app.update(Msg::Key(Key::Enter));
        assert_eq!(
            (app.filter(), selected(&app)),
            ("all2", Some(0)),
            "what is selected is still there"
        );
        assert!(app.syscalls.reversed && app.syscalls.sort != Default::default());
        press(&mut app, "3");
        assert_eq!(
            (app.filter(), selected(&app)),
            ("", Some(1)),
            "threads are as they were"
        );
        assert!(!app.threads.reversed && app.threads.sort == Default::default());
    }

    #[test]
    fn every_view_has_a_list_that_keys_work_on() {
        for view in ['1', '2', '3', '4', '5', '6', '7', '9', 'l'] {
            let mut app = live();
            let shown = match view {
                'l' => demo::looping(),
                _ => demo::tokio(),
            };
            app.update(Msg::Snapshot(Arc::new(shown)));
            press(&mut app, &format!("{view}jj"));
            assert_eq!(selected(&app), Some(1), "{view}");
            app.update(Msg::Key(Key::Esc));
            assert_eq!(selected(&app), None, "{view}");
            press(&mut app, "G/no such thing");
            app.update(Msg::Key(Key::Enter));
            assert_eq!(
                (app.filter(), selected(&app)),
                ("no such thing", None),
                "{view}"
            );
            app.update(Msg::Key(Key::Esc));
            press(&mut app, "sS");
            assert!(
                app.filter().is_empty() && selected(&app).is_some(),
                "{view}"
            );
        }
    }

    #[test]
    fn enter_opens_the_page_of_a_type_and_escape_closes_it() {
        let mut app = live();
        app.update(Msg::Snapshot(Arc::new(demo::tokio())));
        app.update(Msg::Key(Key::Enter));
        assert_eq!(app.task_page, None, "not in the overview");
        let (columns, rows) = (80, 14);
        app.update(Msg::Resize { columns, rows });
        press(&mut app, "2jj");
        app.update(Msg::Key(Key::Enter));
        let opened = app.task_page.unwrap();
        let rows = app.tasks.rows(app.shown().unwrap(), app.period);
        assert_eq!(opened.id, rows[1].id());
        app.update(Msg::Key(Key::Down));
        assert_eq!(app.task_page.unwrap().scroll, 1);
        press(&mut app, "/sG");
        assert!(!app.typing && app.task_page.unwrap().scroll > 1);
        app.update(Msg::Key(Key::Esc));
        assert_eq!((app.task_page, selected(&app)), (None, Some(1)));
        app.update(Msg::Key(Key::Enter));
        press(&mut app, "3");
        assert_eq!((app.task_page, app.view), (None, View::Threads));
    }

    #[test]
    fn while_typing_keys_are_text() {
        let mut app = live();
        app.update(snapshot(1));
        press(&mut app, "/q 1?");
        assert_eq!(app.filter(), "q 1?");
        assert!(!app.quit && app.help.is_none());
        app.update(Msg::Key(Key::Backspace));
        assert_eq!(app.filter(), "q 1");
        app.update(Msg::Key(Key::Ctrl('u')));
        app.update(Msg::Key(Key::Up));
        assert_eq!(app.filter(), "");
        press(&mut app, &"x".repeat(1000));
        assert_eq!(app.filter().len(), FILTER_CHARS);
        app.update(Msg::Key(Key::Esc));
        assert_eq!((app.filter(), app.typing), ("", false));
    }

    #[test]
    fn escape_takes_back_the_filter_first_and_the_selection_then() {
        let mut app = live();
        app.update(snapshot(1));
        press(&mut app, "5j/call");
        app.update(Msg::Key(Key::Enter));
        app.update(Msg::Key(Key::Esc));
        assert_eq!((app.filter(), selected(&app)), ("", Some(0)));
        app.update(Msg::Key(Key::Esc));
        assert_eq!(selected(&app), None);
        assert!(!app.quit);
    }

    #[test]
    fn q_closes_the_help_and_then_quits() {
        let mut app = live();
        let scroll = |app: &App| app.help.unwrap().scroll;
        press(&mut app, "?jG");
        let end = scroll(&app);
        press(&mut app, "j");
        assert_eq!(scroll(&app), end, "the help ends where its text ends");
        press(&mut app, "k");
        assert_eq!(scroll(&app), end - 1);
        press(&mut app, "g");
        assert_eq!(scroll(&app), 0);
        press(&mut app, "q");
        assert!(app.help.is_none() && !app.quit);
        press(&mut app, "q");
        assert!(app.quit);
        let mut app = live();
        press(&mut app, "?");
        app.update(Msg::Key(Key::Ctrl('c')));
        assert!(app.quit);
    }

    #[test]
    fn the_period_is_switched_for_all_views() {
        let mut app = live();
        press(&mut app, "w");
        assert_eq!(app.period, Period::Session);
        press(&mut app, "5w");
        assert_eq!(app.period, Period::Window);
    }
}
