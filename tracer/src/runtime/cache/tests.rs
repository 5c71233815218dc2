use std::{
    os::unix::fs::{PermissionsExt, symlink},
    sync::atomic::{AtomicBool, Ordering},
};

use proptest::{collection::vec, prelude::any, proptest};

use super::*;
use crate::runtime::{
    probe::ProbePoint,
    tokio::{Kind, Layout, Source, TaskType, Tokio, WakeProbe},
};

/// A program with one segment of code and nothing in it.
fn program(build_id: &[u8], code: u8) -> Vec<u8> {
    let mut out = vec![0; 64];
    out[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    out[16..24].copy_from_slice(&[2, 0, 62, 0, 1, 0, 0, 0]);
    out[32] = 64;
    out[52..58].copy_from_slice(&[64, 0, 56, 0, 2, 0]);
    let mut segment = |kind: u32, flags: u32, offset: u64, size: u64| {
        out.extend(kind.to_le_bytes());
        out.extend(flags.to_le_bytes());
        for word in [offset, 0x40_0000 + offset, 0, size, size, 4] {
            out.extend(word.to_le_bytes());
        }
    };
    let note = 16 + build_id.len().next_multiple_of(4) as u64;
    segment(1, 5, 0, 256 + note);
    segment(4, 4, 256, note);
    out.resize(256, code);
    out.extend(4_u32.to_le_bytes());
    out.extend((build_id.len() as u32).to_le_bytes());
    out.extend(b"\x03\0\0\0GNU\0");
    out.extend(build_id);
    out.resize(256 + usize::try_from(note).unwrap(), 0);
    out
}

/// Entries in `cache` and a program beside it.
struct Folder {
    folder: tempfile::TempDir,
    cache: Cache,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(&folder.path().join("cache")).of_everything();
        Self { folder, cache }
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("cache")
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("program")
    }

    fn put(&self, program: &[u8]) {
        fs::write(self.program(), program).unwrap();
    }

    /// The only entry.
    fn entry(&self) -> PathBuf {
        let entries: Vec<_> = fs::read_dir(self.cache()).unwrap().collect();
        let [entry] = entries.as_slice() else {
            panic!("{entries:?}");
        };
        entry.as_ref().unwrap().path()
    }

    fn count(&self) -> usize {
        self.cache.usage().unwrap().entries
    }

    fn is_known_to(&self, cache: &Cache) -> bool {
        let data = fs::read(self.program()).unwrap();
        let image = Image::parse(&data).unwrap();
        let found = cache.recognise(&File::open(self.program()).unwrap(), &image);
        assert_eq!(found.holds, Holds::default());
        found.is_from_cache
    }

    fn is_known(&self) -> bool {
        self.is_known_to(&self.cache)
    }
}

fn place_of(cache: &Cache) -> &Place {
    cache.place.as_ref().unwrap()
}

fn identity() -> Identity {
    Identity {
        build_id: "00ff".to_owned(),
        length: 500_000_000,
        device: 2_049,
        inode: 77,
        modified: (1_700_000_000, 5),
        changed: (1_700_000_001, 999_999_999),
    }
}

fn tokio() -> Tokio {
    let point = ProbePoint {
        file_offset: 128,
        is_emulated: true,
    };
    Tokio {
        version: Some("1.44.2".to_owned()),
        layout: Layout {
            vtable: 16,
            owner: 24,
        },
        types: vec![TaskType {
            vtable: u64::MAX,
            poll: 0x40_0080,
            name: "fetch \"ü\"".to_owned(),
            raw_name: String::new(),
            source: Some(Source {
                file: "src/main.rs".to_owned(),
                line: 7,
            }),
            kind: Kind::Blocking,
            id: None,
            trailer: Some(80),
            poll_probe: point,
        }],
        wakes: vec![WakeProbe {
            point,
            header_register: 5,
        }],
        spawns: Vec::new(),
        current_task: vec![-40, i64::MIN],
        notes: vec!["a note".to_owned()],
    }
}

fn holds(tokio: Option<Tokio>) -> Holds {
    Holds { tokio, node: None }
}

fn entry_of(tokio: Option<Tokio>) -> Vec<u8> {
    let (tool, file, holds) = ("0.1.0", &identity(), &holds(tokio));
    bytes(&EntryOf { tool, file, holds }).unwrap()
}

#[test]
fn what_was_recognised_is_known_the_next_time() {
    let folder = Folder::new();
    folder.put(&program(b"0123", 0x90));
    assert!(!folder.is_known());
    assert!(folder.is_known());
    assert_eq!(folder.count(), 1);
    // What is there is used, whatever would be kept.
    assert!(folder.is_known_to(&Cache::at(&folder.cache())));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(folder.cache()), mode(folder.entry())), (0o700, 0o600));
    // Another build of this program knows better, or not.
    let mut other = folder.cache.clone();
    other.tool.push('x');
    assert!(!folder.is_known_to(&other));
    assert!(folder.is_known_to(&other) && !folder.is_known());
    assert!(!folder.is_known_to(&Cache::off()));
}

#[test]
fn what_is_quick_or_new_or_nameless_is_not_kept() {
    let folder = Folder::new();
    folder.put(&program(b"0123", 0x90));
    let quick = Cache {
        worth: WORTH,
        ..folder.cache.clone()
    };
    let new = Cache {
        settled: 1_000,
        ..folder.cache.clone()
    };
    for cache in [quick, new] {
        assert!(!folder.is_known_to(&cache) && !folder.is_known_to(&cache));
    }
    for id in [&b""[..], &[1; BUILD_ID + 1]] {
        folder.put(&program(id, 0x90));
        assert!(!folder.is_known() && !folder.is_known());
    }
    assert!(!folder.cache().exists());
}

#[test]
fn another_content_with_the_same_id_length_and_time_is_recognised_anew() {
    let folder = Folder::new();
    folder.put(&program(b"0123", 0x90));
    let before = fs::metadata(folder.program()).unwrap();
    assert!(!folder.is_known() && folder.is_known());
    // Written in its place, and its time set back. The clock of the file system has a grain.
    assert!(wait_until(|| {
        folder.put(&program(b"0123", 0xcc));
        let file = File::options().write(true).open(folder.program()).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
        let now = file.metadata().unwrap();
        (now.ctime(), now.ctime_nsec()) != (before.ctime(), before.ctime_nsec())
    }));
    let now = fs::metadata(folder.program()).unwrap();
    assert_eq!(
        (now.ino(), now.len(), now.modified().unwrap()),
        (before.ino(), before.len(), before.modified().unwrap())
    );
    assert!(!folder.is_known() && folder.is_known());
    assert_eq!(folder.count(), 1);
    // Another file under its name.
    let other = folder.folder.path().join("other");
    fs::write(&other, program(b"0123", 0x90)).unwrap();
    fs::rename(&other, folder.program()).unwrap();
    assert!(!folder.is_known() && folder.is_known());
    assert_eq!(folder.count(), 2);
}

fn wait_until(mut condition: impl FnMut() -> bool) -> bool {
    let begun = sys::monotonic();
    while !condition() {
        if sys::monotonic()
            .since(begun)
            .is_none_or(|took| took.0 > 5_000_000_000)
        {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

#[test]
fn an_entry_is_read_as_it_was_written() {
    for tokio in [Some(tokio()), None] {
        let entry = parse(&entry_of(tokio.clone())).unwrap();
        assert_eq!(
            (entry.tool.as_str(), entry.file, entry.holds),
            ("0.1.0", identity(), holds(tokio))
        );
    }
}

#[test]
fn a_damaged_entry_is_none() {
    let mut entry = entry_of(Some(tokio()));
    for end in 0..entry.len() {
        assert!(parse(&entry[..end]).is_none(), "{end} bytes of it");
    }
    for at in 0..entry.len() {
        for bit in 0..8 {
            entry[at] ^= 1 << bit;
            assert!(parse(&entry).is_none(), "bit {bit} of byte {at}");
            entry[at] ^= 1 << bit;
        }
    }
    entry.push(b' ');
    assert!(parse(&entry).is_none());
}

proptest! {
    #[test]
    fn no_entry_makes_it_panic(mut body in vec(any::<u8>(), 0..300), at in 0_usize..600, whole: bool) {
        if whole {
            // As if the sum were right.
            let mut json = entry_of(Some(tokio())).split_off(MAGIC.len() + CHECKSUM);
            let at = at.min(json.len());
            let end = json.len().min(at + body.len() / 20);
            json.splice(at..end, body);
            body = format!("{MAGIC}{:08x}\n", crc32fast::hash(&json)).into_bytes();
            body.extend(json);
        }
        let _entry = parse(&body);
    }
}

#[test]
fn a_damaged_entry_is_made_anew() {
    let folder = Folder::new();
    folder.put(&program(b"0123", 0x90));
    assert!(!folder.is_known() && folder.is_known());
    let path = folder.entry();
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[60] ^= 1;
    for damaged in [&b""[..], &whole[..40], &whole[..whole.len() - 1], &flipped] {
        fs::write(&path, damaged).unwrap();
        assert!(!folder.is_known() && folder.is_known());
        assert_eq!(fs::read(&path).unwrap(), whole);
    }
    // Too large is not even read, and what is no file is not waited for.
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(LARGEST + 1)
        .unwrap();
    assert!(!folder.is_known() && folder.is_known());
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert!(!folder.is_known() && folder.is_known());
    fs::remove_file(&path).unwrap();
    let elsewhere = folder.folder.path().join("elsewhere");
    fs::write(&elsewhere, &whole).unwrap();
    symlink(&elsewhere, &path).unwrap();
    assert!(!folder.is_known() && folder.is_known());
    assert!(!path.is_symlink());
}

#[test]
fn an_entry_with_probes_elsewhere_is_not_used() {
    let folder = Folder::new();
    folder.put(&program(b"0123", 0x90));
    let file = File::open(folder.program()).unwrap();
    let identity = Identity::of(&file, b"0123").unwrap();
    let place = place_of(&folder.cache);
    // No function begins there, no instruction is known to be there.
    for types in [tokio().types, Vec::new()] {
        let wrong = holds(Some(Tokio { types, ..tokio() }));
        folder.cache.write(place, &identity, &wrong).unwrap();
        assert!(!folder.is_known() && folder.is_known());
    }
    let harmless = holds(Some(Tokio {
        types: Vec::new(),
        wakes: Vec::new(),
        ..tokio()
    }));
    folder.cache.write(place, &identity, &harmless).unwrap();
    let data = fs::read(folder.program()).unwrap();
    let found = folder.cache.recognise(&file, &Image::parse(&data).unwrap());
    assert_eq!(found.holds, harmless);
}

#[test]
fn a_directory_of_others_is_not_used() {
    let folder = Folder::new();
    folder.put(&program(b"0123", 0x90));
    assert!(!folder.is_known() && folder.is_known());
    let set = |mode| fs::set_permissions(folder.cache(), PermissionsExt::from_mode(mode)).unwrap();
    for mode in [0o770, 0o702, 0o777, 0o1777] {
        set(mode);
        assert!(!folder.is_known() && !folder.is_known(), "{mode:o}");
        let why = folder.cache.usage().unwrap_err();
        assert!(why.ends_with("cache: others can write to it"), "{why}");
    }
    set(0o755);
    assert!(folder.is_known());
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(folder.cache(), Some(65_534), None).unwrap();
        assert!(!folder.is_known() && !folder.is_known());
        let why = folder.cache.usage().unwrap_err();
        assert!(why.ends_with("belongs to somebody else"), "{why}");
        std::os::unix::fs::chown(folder.cache(), Some(0), None).unwrap();
        assert!(folder.is_known());
    }
    let link = folder.folder.path().join("link");
    symlink(folder.cache(), &link).unwrap();
    let linked = Cache::at(&link).of_everything();
    assert!(!folder.is_known_to(&linked) && linked.usage().is_err());
    // What is no directory, and what cannot be made.
    for path in [
        folder.program(),
        folder.program().join("x"),
        "/proc/x".into(),
    ] {
        let cache = Cache::at(&path).of_everything();
        assert!(!folder.is_known_to(&cache) && !folder.is_known_to(&cache));
    }
}

#[test]
fn what_was_not_used_for_long_makes_room() {
    let folder = Folder::new();
    folder.put(&program(b"0123", 0x90));
    assert!(!folder.is_known());
    let used = folder.entry();
    let aged = |name: &str, size: u64, seconds: u64| {
        let file = File::create(folder.cache().join(name)).unwrap();
        file.set_len(size).unwrap();
        let now = sys::unix_ns_at(sys::monotonic()) / 1_000_000_000;
        let then = std::time::UNIX_EPOCH + Duration::from_secs(now - seconds);
        file.set_modified(then).unwrap();
    };
    let names = || -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder.cache())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    for number in 0..ENTRIES as u64 {
        aged(&format!("{number:02x}{ENTRY}"), 10, 1_000 + number);
    }
    aged("notes.txt", 1, 1 << 20);
    aged("of others.recognised", 1, 1 << 20);
    aged("1-2.recognised.new", 1, 1_000);
    aged("1-3.recognised.new", 1, 10);
    assert_eq!(folder.count(), ENTRIES + 1);
    File::open(&used)
        .unwrap()
        .set_modified(std::time::UNIX_EPOCH)
        .unwrap();
    assert!(folder.is_known(), "now it was used last");
    folder.put(&program(b"4567", 0x90));
    assert!(!folder.is_known());
    assert_eq!(folder.count(), ENTRIES);
    assert!(used.exists() && folder.is_known());
    let left = names();
    assert!(left.contains(&format!("{:02x}{ENTRY}", ENTRIES - 3)));
    assert!(!left.contains(&format!("{:02x}{ENTRY}", ENTRIES - 2)));
    for (name, is_left) in [
        ("notes.txt", true),
        ("of others.recognised", true),
        ("1-2.recognised.new", false),
        ("1-3.recognised.new", true),
    ] {
        assert_eq!(left.contains(&name.to_owned()), is_left, "{name}");
    }
    for number in 0..5 {
        aged(
            &format!("{number:02x}{ENTRY}"),
            LARGEST - 4_096,
            100 + number,
        );
    }
    folder.put(&program(b"89ab", 0x90));
    assert!(!folder.is_known());
    let usage = folder.cache.usage().unwrap();
    assert!(usage.bytes <= BYTES && usage.bytes > BYTES - LARGEST);
    assert!(folder.is_known() && !names().contains(&format!("04{ENTRY}")));
}

#[test]
fn who_reads_while_others_write_gets_a_whole_entry() {
    let folder = Folder::new();
    let (place, identity) = (place_of(&folder.cache), identity());
    let mut long = tokio();
    long.notes = vec!["x".repeat(100_000)];
    let (long, short) = (holds(Some(long)), holds(Some(tokio())));
    folder.cache.write(place, &identity, &short).unwrap();
    let done = AtomicBool::new(false);
    // Both may pick the same name for what is unfinished; then one of the two is not kept.
    let write = |holds| {
        for _ in 0..200 {
            let _ = folder.cache.write(place, &identity, holds);
        }
        done.store(true, Ordering::Relaxed);
    };
    std::thread::scope(|scope| {
        for holds in [&short, &long] {
            let write = &write;
            scope.spawn(move || write(holds));
        }
        while !done.load(Ordering::Relaxed) {
            let entry = parse(&read(place, &identity.name()).unwrap()).unwrap();
            assert!(entry.holds == short || entry.holds == long);
        }
    });
    folder.entry();
}

#[test]
fn the_place_is_where_the_environment_says() {
    let ours = ["/cache", "/home/me", "/var/cache"];
    let place = |is_raised, variables: &[(&str, &str)], ours: &[&str]| {
        let variable = |name: &str| {
            let found = variables.iter().find(|(one, _)| *one == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let is_ours = |path: &Path| ours.iter().any(|one| Path::new(one) == path);
        super::place(is_raised, variable, is_ours).map(|place| place.path())
    };
    let all = [("XDG_CACHE_HOME", "/cache"), ("HOME", "/home/me")];
    let named = |path| [&all[..], &[(VARIABLE, path)]].concat();
    for (variables, ours, expected) in [
        (&named("/here/it/is")[..], &ours[..], Ok("/here/it/is")),
        (&named("here"), &ours, Ok("./here")),
        (&named("/"), &ours, Ok("/")),
        (&named(""), &ours, Err(Off::Switched)),
        (&all, &ours, Ok("/cache/tracer")),
        (&all, &ours[1..], Ok("/home/me/.cache/tracer")),
        (&all, &ours[2..], Ok("/var/cache/tracer")),
        (&all, &[], Err(Off::Homeless)),
        (
            &[("XDG_CACHE_HOME", "cache")],
            &ours,
            Ok("/var/cache/tracer"),
        ),
        (&[("HOME", "")], &["", "."], Err(Off::Homeless)),
    ] {
        let got = place(false, variables, ours);
        assert_eq!(got, expected.map(PathBuf::from), "{variables:?}");
    }
    assert_eq!(place(true, &named("/here"), &ours), Err(Off::Raised));
}
