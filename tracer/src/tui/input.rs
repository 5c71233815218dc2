//! The one table of keys: it maps keys to actions, and prints the help and the footer.

use tracer_common::Nanos;

use super::{
    app::View,
    feed::{Command, Pace, SeekTo},
    list::Step,
};

/// A key as the reader pressed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// A letter with Ctrl.
    Ctrl(char),
    /// Return.
    Enter,
    /// Escape.
    Esc,
    /// Backspace.
    Backspace,
    /// Arrow up.
    Up,
    /// Arrow down.
    Down,
    /// Arrow left.
    Left,
    /// Arrow right.
    Right,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Home.
    Home,
    /// End.
    End,
}

impl Key {
    /// What is printed on it.
    #[must_use]
    pub fn label(self) -> String {
        let name = match self {
            Self::Char(' ') => "space",
            Self::Char(c) => return c.to_string(),
            Self::Ctrl(c) => return format!("Ctrl-{}", c.to_ascii_uppercase()),
            Self::Enter => "Enter",
            Self::Esc => "Esc",
            Self::Backspace => "Backspace",
            Self::Up => "↑",
            Self::Down => "↓",
            Self::Left => "←",
            Self::Right => "→",
            Self::PageUp => "PgUp",
            Self::PageDown => "PgDn",
            Self::Home => "Home",
            Self::End => "End",
        };
        name.to_owned()
    }
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Show another view.
    Show(View),
    /// Move the selection.
    Select(Step),
    /// Open the page of the selected row.
    Open,
    /// Close it.
    Close,
    /// Begin to type a filter.
    Filter,
    /// Take back the filter, then the selection.
    Clear,
    /// Sort by the next key.
    NextSort,
    /// Sort the other way round.
    Reverse,
    /// Switch between the last window and the whole session.
    SwitchPeriod,
    /// Freeze the view, or let it go on.
    Freeze,
    /// Ask something of the replay.
    Replay(Command),
    /// Open or close the help.
    Help,
    /// Scroll the help.
    Scroll(Step),
    /// Quit.
    Quit,
    /// Keep the filter.
    KeepFilter,
    /// Take back the filter.
    DropFilter,
    /// Take back its last character.
    Erase,
    /// Take back all its characters.
    EraseAll,
}

/// Where a key means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// The views, live and in a replay.
    Views,
    /// Their lists: everywhere but on a page.
    Lists,
    /// A page.
    Page,
    /// The views, in a live session only.
    Live,
    /// The views, in a replay only.
    Replay,
    /// While a filter is typed. Characters that are not in the table are typed.
    Filter,
    /// While the help is open.
    Help,
}

impl Context {
    /// All contexts, in the order the help lists them, with what it calls them.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Views, "Keys"),
        (Self::Lists, "In a list"),
        (Self::Page, "On the page of a task type"),
        (Self::Live, "In a live session"),
        (Self::Replay, "In a replay"),
        (Self::Filter, "While typing a filter"),
        (Self::Help, "In this help"),
    ];
}

/// What is open, which decides the contexts that apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// A view of a live session.
    Live,
    /// A view of a replay.
    Replay,
    /// A page of a live session.
    LivePage,
    /// A page of a replay.
    ReplayPage,
    /// The filter line.
    Filter,
    /// The help.
    Help,
}

impl Focus {
    fn sees(self, context: Context) -> bool {
        match self {
            Self::Live => matches!(context, Context::Views | Context::Lists | Context::Live),
            Self::Replay => {
                matches!(context, Context::Views | Context::Lists | Context::Replay)
            }
            Self::LivePage => matches!(context, Context::Views | Context::Page | Context::Live),
            Self::ReplayPage => {
                matches!(context, Context::Views | Context::Page | Context::Replay)
            }
            Self::Filter => context == Context::Filter,
            Self::Help => context == Context::Help,
        }
    }
}

/// One line of the table.
#[derive(Debug)]
pub struct Binding {
    /// Where it applies.
    pub context: Context,
    /// Keys, the first being the one the footer shows.
    pub keys: &'static [Key],
    /// What they do.
    pub action: Action,
    /// The same for the help.
    pub help: &'static str,
    /// The same for the footer, with its rank: the higher, the earlier it is dropped where there is no room.
    /// Neighbours with the same hint share it.
    pub hint: Option<(&'static str, u8)>,
}

/// How far an arrow key goes in a replay.
const STEP: Nanos = Nanos(5_000_000_000);

const fn bind(
    context: Context,
    keys: &'static [Key],
    action: Action,
    help: &'static str,
) -> Binding {
    Binding {
        context,
        keys,
        action,
        help,
        hint: None,
    }
}

impl Binding {
    const fn hint(mut self, text: &'static str, rank: u8) -> Self {
        self.hint = Some((text, rank));
        self
    }
}

/// Every key.
pub const KEYS: &[Binding] = {
    use Action as A;
    use Context as C;
    use Key as K;
    &[
        bind(
            C::Views,
            &[K::Char('1')],
            A::Show(View::Overview),
            "overview: where the time goes",
        )
        .hint("main", 3),
        bind(
            C::Views,
            &[K::Char('2')],
            A::Show(View::Tasks),
            "tasks: types, long polls, workers",
        )
        .hint("tasks", 3),
        bind(
            C::Views,
            &[K::Char('3')],
            A::Show(View::Threads),
            "threads: every state of every thread",
        )
        .hint("threads", 3),
        bind(
            C::Views,
            &[K::Char('4')],
            A::Show(View::Locks),
            "locks: who waits for whom",
        )
        .hint("locks", 3),
        bind(
            C::Views,
            &[K::Char('5')],
            A::Show(View::Syscalls),
            "system calls",
        )
        .hint("syscalls", 3),
        bind(
            C::Views,
            &[K::Char('6')],
            A::Show(View::Io),
            "I/O: descriptors, sockets, epoll",
        )
        .hint("i/o", 3),
        bind(
            C::Views,
            &[K::Char('7')],
            A::Show(View::Memory),
            "memory: how much, what grows, who asks",
        )
        .hint("memory", 3),
        bind(
            C::Views,
            &[K::Char('8')],
            A::Show(View::Findings),
            "findings: what is wrong, why, what to do",
        )
        .hint("findings", 2),
        bind(
            C::Views,
            &[K::Char('9')],
            A::Show(View::Cpu),
            "CPU: how much there is, which code uses it",
        )
        .hint("cpu", 3),
        bind(
            C::Views,
            &[K::Char('l')],
            A::Show(View::Loops),
            "event loops: how busy, how late, held up by what",
        ),
        bind(
            C::Views,
            &[K::Up, K::Char('k')],
            A::Select(Step::Up),
            "select the row above; on a page, scroll",
        )
        .hint("select", 8),
        bind(
            C::Views,
            &[K::Down, K::Char('j')],
            A::Select(Step::Down),
            "select the row below; on a page, scroll",
        )
        .hint("select", 8),
        bind(
            C::Views,
            &[K::PageUp, K::Ctrl('b')],
            A::Select(Step::PageUp),
            "a screenful up",
        ),
        bind(
            C::Views,
            &[K::PageDown, K::Ctrl('f')],
            A::Select(Step::PageDown),
            "a screenful down",
        ),
        bind(
            C::Views,
            &[K::Char('g')],
            A::Select(Step::First),
            "first row",
        ),
        bind(C::Views, &[K::Char('G')], A::Select(Step::Last), "last row"),
        bind(C::Live, &[K::Home], A::Select(Step::First), "first row"),
        bind(C::Live, &[K::End], A::Select(Step::Last), "last row"),
        bind(
            C::Live,
            &[K::Char(' ')],
            A::Freeze,
            "freeze the view; counting goes on",
        )
        .hint("pause", 4),
        bind(
            C::Replay,
            &[K::Char(' ')],
            A::Replay(Command::TogglePause),
            "stop the replay, or go on",
        )
        .hint("pause", 4),
        bind(
            C::Replay,
            &[K::Left],
            A::Replay(Command::Seek(SeekTo::Back(STEP))),
            "back by 5 s",
        )
        .hint("5 s", 4),
        bind(
            C::Replay,
            &[K::Right],
            A::Replay(Command::Seek(SeekTo::Forward(STEP))),
            "forward by 5 s",
        )
        .hint("5 s", 4),
        bind(
            C::Replay,
            &[K::Home],
            A::Replay(Command::Seek(SeekTo::Start)),
            "to the start",
        ),
        bind(
            C::Replay,
            &[K::End],
            A::Replay(Command::Seek(SeekTo::End)),
            "to the end",
        ),
        bind(
            C::Replay,
            &[K::Char('+'), K::Char('=')],
            A::Replay(Command::Speed(Pace::Faster)),
            "faster",
        )
        .hint("speed", 7),
        bind(
            C::Replay,
            &[K::Char('-')],
            A::Replay(Command::Speed(Pace::Slower)),
            "slower",
        )
        .hint("speed", 7),
        bind(
            C::Page,
            &[K::Esc, K::Enter, K::Backspace],
            A::Close,
            "back to the list",
        )
        .hint("back", 2),
        bind(
            C::Lists,
            &[K::Enter],
            A::Open,
            "tasks: open the page of the selected type",
        ),
        bind(
            C::Lists,
            &[K::Char('s')],
            A::NextSort,
            "sort by the next column",
        )
        .hint("sort", 6),
        bind(
            C::Lists,
            &[K::Char('S')],
            A::Reverse,
            "sort the other way round",
        ),
        bind(
            C::Lists,
            &[K::Char('/')],
            A::Filter,
            "show only names that contain a text",
        )
        .hint("filter", 5),
        bind(
            C::Lists,
            &[K::Esc],
            A::Clear,
            "take back the filter, then the selection",
        ),
        bind(
            C::Views,
            &[K::Char('w')],
            A::SwitchPeriod,
            "last window, or the whole session",
        )
        .hint("window/session", 7),
        bind(C::Views, &[K::Char('?')], A::Help, "this help").hint("help", 2),
        bind(C::Views, &[K::Char('q'), K::Ctrl('c')], A::Quit, "quit").hint("quit", 1),
        bind(C::Filter, &[K::Enter], A::KeepFilter, "keep it").hint("keep", 1),
        bind(C::Filter, &[K::Esc], A::DropFilter, "show everything again").hint("show all", 2),
        bind(
            C::Filter,
            &[K::Backspace],
            A::Erase,
            "take back a character",
        ),
        bind(
            C::Filter,
            &[K::Ctrl('u')],
            A::EraseAll,
            "take back all characters",
        ),
        bind(C::Filter, &[K::Ctrl('c')], A::Quit, "quit"),
        bind(
            C::Help,
            &[K::Up, K::Char('k')],
            A::Scroll(Step::Up),
            "scroll up",
        )
        .hint("scroll", 2),
        bind(
            C::Help,
            &[K::Down, K::Char('j')],
            A::Scroll(Step::Down),
            "scroll down",
        )
        .hint("scroll", 2),
        bind(
            C::Help,
            &[K::PageUp],
            A::Scroll(Step::PageUp),
            "a screenful up",
        ),
        bind(
            C::Help,
            &[K::PageDown, K::Char(' ')],
            A::Scroll(Step::PageDown),
            "a screenful down",
        ),
        bind(
            C::Help,
            &[K::Home, K::Char('g')],
            A::Scroll(Step::First),
            "to the top",
        ),
        bind(
            C::Help,
            &[K::End, K::Char('G')],
            A::Scroll(Step::Last),
            "to the end",
        ),
        bind(
            C::Help,
            &[K::Esc, K::Char('?'), K::Char('q')],
            A::Help,
            "close it",
        )
        .hint("close", 1),
        bind(C::Help, &[K::Ctrl('c')], A::Quit, "quit"),
    ]
};

/// What `key` does there.
#[must_use]
pub fn action(focus: Focus, key: Key) -> Option<Action> {
    KEYS.iter()
        .find(|binding| focus.sees(binding.context) && binding.keys.contains(&key))
        .map(|binding| binding.action)
}

/// An entry of the footer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// Keys.
    pub keys: String,
    /// What they do, in a word.
    pub text: &'static str,
    /// The higher, the earlier it is dropped where there is no room.
    pub rank: u8,
    /// What the first of the keys does.
    pub action: Action,
}

/// The footer there.
#[must_use]
pub fn hints(focus: Focus) -> Vec<Hint> {
    let mut hints: Vec<Hint> = Vec::new();
    for binding in KEYS.iter().filter(|binding| focus.sees(binding.context)) {
        let (Some(key), Some((text, rank))) = (binding.keys.first(), binding.hint) else {
            continue;
        };
        match hints.last_mut() {
            Some(last) if last.text == text => last.keys.push_str(&key.label()),
            _ => hints.push(Hint {
                keys: key.label(),
                text,
                rank,
                action: binding.action,
            }),
        }
    }
    hints
}

/// The help on keys in a live session or in a replay: headings, and under each the keys and what they do.
#[must_use]
pub fn help(replay: bool) -> Vec<(&'static str, Vec<(String, &'static str)>)> {
    let other = if replay {
        Context::Live
    } else {
        Context::Replay
    };
    let contexts = Context::ALL
        .into_iter()
        .filter(|(context, _)| *context != other);
    contexts
        .map(|(context, heading)| {
            let bindings = KEYS.iter().filter(|binding| binding.context == context);
            (
                heading,
                bindings
                    .map(|binding| (labels(binding.keys), binding.help))
                    .collect(),
            )
        })
        .collect()
}

fn labels(keys: &[Key]) -> String {
    keys.iter()
        .map(|key| key.label())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOCI: [Focus; 6] = [
        Focus::Live,
        Focus::Replay,
        Focus::LivePage,
        Focus::ReplayPage,
        Focus::Filter,
        Focus::Help,
    ];

    #[test]
    fn no_key_means_two_things_at_once() {
        for focus in FOCI {
            let keys: Vec<Key> = KEYS
                .iter()
                .filter(|b| focus.sees(b.context))
                .flat_map(|b| b.keys.iter().copied())
                .collect();
            for (at, key) in keys.iter().enumerate() {
                assert!(!keys[..at].contains(key), "{key:?} twice in {focus:?}");
            }
        }
    }

    #[test]
    fn every_key_is_in_the_help() {
        for (replay, foci) in [
            (
                false,
                [Focus::Live, Focus::LivePage, Focus::Filter, Focus::Help],
            ),
            (
                true,
                [Focus::Replay, Focus::ReplayPage, Focus::Filter, Focus::Help],
            ),
        ] {
            let help = help(replay);
            let lines: Vec<_> = help.iter().flat_map(|(_, lines)| lines).collect();
            for binding in KEYS
                .iter()
                .filter(|b| foci.iter().any(|focus| focus.sees(b.context)))
            {
                for key in binding.keys {
                    let found = lines.iter().any(|(keys, text)| {
                        *text == binding.help && keys.split(' ').any(|k| k == key.label())
                    });
                    assert!(found, "{key:?} {}", binding.help);
                }
            }
        }
    }

    #[test]
    fn one_can_always_quit() {
        for focus in FOCI {
            assert_eq!(
                action(focus, Key::Ctrl('c')),
                Some(Action::Quit),
                "{focus:?}"
            );
        }
    }

    #[test]
    fn the_footer_is_read_from_the_table() {
        let footer = |focus| {
            let hints = hints(focus);
            hints
                .iter()
                .map(|hint| format!("{} {}", hint.keys, hint.text))
                .collect::<Vec<_>>()
                .join("  ")
        };
        assert_eq!(
            footer(Focus::Live),
            "1 main  2 tasks  3 threads  4 locks  5 syscalls  6 i/o  7 memory  8 findings  9 cpu  ↑↓ select  space pause  s sort  / filter  w window/session  \
             ? help  q quit"
        );
        assert_eq!(
            footer(Focus::Replay),
            "1 main  2 tasks  3 threads  4 locks  5 syscalls  6 i/o  7 memory  8 findings  9 cpu  ↑↓ select  space pause  ←→ 5 s  +- speed  s sort  / filter  \
             w window/session  ? help  q quit"
        );
        assert_eq!(
            footer(Focus::LivePage),
            "1 main  2 tasks  3 threads  4 locks  5 syscalls  6 i/o  7 memory  8 findings  9 cpu  ↑↓ select  space pause  Esc back  \
             w window/session  ? help  q quit"
        );
        assert_eq!(footer(Focus::Filter), "Enter keep  Esc show all");
    }
}
