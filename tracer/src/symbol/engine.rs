//! The one place that knows `blazesym`: places in a file, in the vDSO or in the kernel, to frames.
//!
//! Perf maps are never asked: one line that the runtime is still writing makes `blazesym` fail a whole batch. Nor are
//! its own readings of `/proc/PID/maps`: they do not tell which file it was when the process is gone.

use std::{
    fs,
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    rc::Rc,
};

use blazesym::{
    MaybeDefault, Pid,
    symbolize::{
        CodeInfo, Input, Reason, Sym, Symbolized, Symbolizer,
        evict::{self, Evict},
        source::{Elf, Kernel, Process, Source},
    },
};

use super::{Frame, name};

/// Frames of one place, innermost inlined function first. Shared by all that ask for the same place.
pub(super) type Frames = Rc<[Frame]>;

/// A symbol without a size reaches to the next symbol; past this many bytes the next one is taken to be missing.
/// No function is that long.
const REACH: usize = 1 << 20;

/// Kernel addresses start here on x86-64, with four or five levels of page tables. What is below in
/// `/proc/kallsyms` are offsets into the per-CPU area.
const KERNEL: u64 = 0xff00_0000_0000_0000;

/// Forgotten files after which everything is forgotten: separate debug files are not forgotten with the file that
/// names them.
const FORGOTTEN: usize = 128;

/// What came of one place.
enum Answer {
    Frames(Frames),
    /// The debug information is damaged here; the symbol table may still know.
    Damaged,
}

/// Two symbolizers, because one is made anew at times, and reading the kernel's symbols again is slow.
pub(super) struct Engine {
    files: Symbolizer,
    kernel: Symbolizer,
    forgotten: usize,
    /// Places asked for, for the tests of the cache.
    pub(super) asked: u64,
}

impl Engine {
    pub(super) fn new() -> Self {
        Self {
            files: Symbolizer::new(),
            kernel: Symbolizer::new(),
            forgotten: 0,
            asked: 0,
        }
    }

    /// Frames of places in the ELF file at `path`, one for each file offset. `None` when it is no ELF file or cannot
    /// be read. Clears `debug` when its debug information is unusable, so that it is not tried again.
    pub(super) fn file(
        &mut self,
        path: &Path,
        debug: &mut bool,
        offsets: &[u64],
    ) -> Option<Vec<Frames>> {
        let mut source = Elf::new(path);
        if *debug {
            if let Some(answers) = self.ask(&source.clone().into(), Input::FileOffset(offsets)) {
                source.debug_syms = false;
                return Some(self.completed(&source.into(), offsets, answers));
            }
            *debug = false;
        }
        source.debug_syms = false;
        let answers = self.ask(&source.into(), Input::FileOffset(offsets))?;
        Some(answers.into_iter().map(Answer::frames).collect())
    }

    /// Asks the symbol table where the debug information is damaged, knows nothing, or names a function without its
    /// path: built with `debug = "line-tables-only"`, a Rust program has `poll` there and the path only in its symbol.
    fn completed(
        &mut self,
        table: &Source<'_>,
        offsets: &[u64],
        answers: Vec<Answer>,
    ) -> Vec<Frames> {
        let asked: Vec<u64> = offsets
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| answer.is_incomplete())
            .map(|(&offset, _)| offset)
            .collect();
        let mut symbols = if asked.is_empty() {
            Vec::new()
        } else {
            self.ask(table, Input::FileOffset(&asked))
                .unwrap_or_default()
        }
        .into_iter()
        .map(Answer::frames);
        answers
            .into_iter()
            .map(|answer| {
                if answer.is_incomplete() {
                    answer.completed_by(symbols.next().unwrap_or_default())
                } else {
                    answer.frames()
                }
            })
            .collect()
    }

    /// Frames of places in the vDSO, one for each offset in it. The kernel maps the same one into every 64-bit
    /// process, so this process' own is read.
    pub(super) fn vdso(&mut self, offsets: &[u64]) -> Option<Vec<Frames>> {
        let own = own_vdso()?;
        let addresses: Vec<u64> = offsets
            .iter()
            .map(|offset| own.start.saturating_add(*offset))
            .collect();
        let mut source = Process::new(Pid::Slf);
        source.perf_map = false;
        let answers = self.ask(&source.into(), Input::AbsAddr(&addresses))?;
        Some(answers.into_iter().map(Answer::frames).collect())
    }

    /// Frames of kernel addresses, one for each. `None` when `/proc/kallsyms` cannot be read.
    ///
    /// `/proc/kallsyms` is parsed at the first question and kept: measured with 122,000 symbols, 50 ms of CPU and
    /// 4.5 MiB. What the kernel loads afterwards has no name. A `vmlinux` file is not looked for: its debug information would cost hundreds of megabytes.
    pub(super) fn kernel(&mut self, addresses: &[u64]) -> Option<Vec<Frames>> {
        let source = Kernel {
            vmlinux: MaybeDefault::None,
            debug_syms: false,
            ..Kernel::default()
        };
        self.asked += addresses.len() as u64;
        let answers = contained(|| ask(&self.kernel, &source.into(), Input::AbsAddr(addresses)));
        let Some(answers) = answers else {
            self.kernel = Symbolizer::new();
            return None;
        };
        Some(
            addresses
                .iter()
                .zip(answers?)
                .map(|(&address, answer)| match answer {
                    Answer::Frames(frames) if address >= KERNEL => frames,
                    Answer::Frames(_) | Answer::Damaged => Frames::default(),
                })
                .collect(),
        )
    }

    /// Gives back what is kept for the file at `path`.
    pub(super) fn forget(&mut self, path: PathBuf) {
        self.forgotten += 1;
        let evicted = self.files.evict(&Evict::Elf(evict::Elf::new(path)));
        if self.forgotten >= FORGOTTEN || evicted.is_err() {
            self.files = Symbolizer::new();
            self.forgotten = 0;
        }
    }

    fn ask(&mut self, source: &Source<'_>, input: Input<&[u64]>) -> Option<Vec<Answer>> {
        let answers = contained(|| ask(&self.files, source, input));
        let Some(answers) = answers else {
            self.files = Symbolizer::new();
            return None;
        };
        self.asked += answers.as_ref().map_or(0, Vec::len) as u64;
        answers
    }
}

impl Answer {
    fn is_incomplete(&self) -> bool {
        match self {
            Self::Frames(frames) => frames
                .last()
                .is_none_or(|frame| !frame.function.contains("::")),
            Self::Damaged => true,
        }
    }

    /// With the name that the symbol table has for the same function. Where it names another (the linker keeps one
    /// of several functions with the same code), the debug information is right.
    fn completed_by(self, symbol: Frames) -> Frames {
        let mut frames = self.frames();
        if frames.is_empty() {
            return symbol;
        }
        if let (Some(frame), Some(symbol)) = (Rc::make_mut(&mut frames).last_mut(), symbol.last())
            && name::last_segment(&frame.function) == name::last_segment(&symbol.function)
        {
            frame.function.clone_from(&symbol.function);
        }
        frames
    }

    fn frames(self) -> Frames {
        match self {
            Self::Frames(frames) => frames,
            Self::Damaged => Frames::default(),
        }
    }
}

/// Runs `question`; `None` when it panicked. A target's files are foreign bytes, and a parser's panic on them must not
/// end the recording: of 8,616 ELF files with random bytes changed, 3 made `blazesym` 0.2.7 panic.
pub(super) fn contained<T>(question: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(question)).ok()
}

fn ask(symbolizer: &Symbolizer, source: &Source<'_>, input: Input<&[u64]>) -> Option<Vec<Answer>> {
    let answers = symbolizer.symbolize(source, input).ok()?;
    Some(answers.iter().map(answer).collect())
}

fn answer(symbolized: &Symbolized<'_>) -> Answer {
    match symbolized {
        Symbolized::Sym(sym) => Answer::Frames(frames(sym)),
        Symbolized::Unknown(Reason::IgnoredError) => Answer::Damaged,
        Symbolized::Unknown(_) => Answer::Frames(Frames::default()),
    }
}

fn frames(sym: &Sym<'_>) -> Frames {
    if sym.size.is_none() && sym.offset > REACH {
        return Frames::default();
    }
    let inlined = sym.inlined.iter().rev();
    inlined
        .map(|call| frame(&call.name, call.code_info.as_ref()))
        .chain([frame(&sym.name, sym.code_info.as_deref())])
        .filter(|frame| !frame.function.is_empty())
        .collect()
}

fn frame(function: &str, code: Option<&CodeInfo<'_>>) -> Frame {
    Frame {
        function: name::clean(function),
        file: code
            .map(|code| code.to_path().to_string_lossy().into_owned())
            .unwrap_or_default(),
        line: code.and_then(|code| code.line).unwrap_or_default(),
    }
}

/// Where this process has its vDSO.
fn own_vdso() -> Option<Range<u64>> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"))?;
    let (start, end) = line.split(' ').next()?.split_once('-')?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    Some(hex(start)?..hex(end)?)
}
