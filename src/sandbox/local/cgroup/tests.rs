use super::*;

#[test]
fn our_folder_is_found_in_every_kind_of_mount() {
    let top = tempfile::tempdir().unwrap();
    let (memory, unified) = (top.path().join("memory"), top.path().join("unified"));
    fs::create_dir_all(memory.join("user/a")).unwrap();
    fs::create_dir_all(unified.join("b")).unwrap();
    let own = "7:cpu,memory:/user/a\n0::/b\n";
    let line =
        |root: &str, at: &Path, rest: &str| format!("30 25 0:26 {root} {} rw - {rest}\n", at.display());

    let mounts =
        line("/", &memory, "cgroup cgroup rw,cpu,memory") + &line("/", &unified, "cgroup2 cgroup2 rw");
    assert_eq!(own_folder(own, &mounts, Some("memory")), Some((memory.clone(), memory.join("user/a"))));
    assert_eq!(own_folder(own, &mounts, None), Some((unified.clone(), unified.join("b"))));
    assert_eq!(own_folder(own, &mounts, Some("pids")), None);

    // A container sees the hierarchy from its own group on.
    let mounts = line("/user", &memory, "cgroup cgroup rw,cpu,memory");
    assert_eq!(
        own_folder("7:cpu,memory:/user/user/a\n", &mounts, Some("memory")).unwrap().1,
        memory.join("user/a")
    );
    // Or not even its own group.
    assert_eq!(own_folder("7:cpu,memory:/gone\n", &mounts, Some("memory")).unwrap().1, memory);
}

#[test]
fn keys_are_whole_words() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n").unwrap();
    assert_eq!(keyed(file.path(), "oom_kill").unwrap(), 3);
    assert!(keyed(file.path(), "oom").is_err());
}

const LIMITS: Limits =
    Limits { cpu_ms: 1000, wall_ms: 1000, memory_bytes: 64 << 20, pids: 32, output_bytes: 1, file_bytes: 1 };

/// A plain folder in place of the hierarchy: the machines this is tested on have version 1.
#[test]
fn version_2_limits_are_written_and_figures_read() {
    let top = tempfile::tempdir().unwrap();
    let folder = top.path().join("7");
    fs::create_dir(&folder).unwrap();
    let group = Group { version: Version::Two, folders: vec![folder.clone()] };
    let file = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    for name in ["memory.max", "memory.swap.max", "memory.oom.group", "pids.max", PROCESSES] {
        file(name, "");
    }
    group.limit(&LIMITS).unwrap();
    for (name, text) in
        [("memory.max", "67108864"), ("memory.swap.max", "0"), ("memory.oom.group", "1"), ("pids.max", "33")]
    {
        assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), text, "{name}");
    }
    assert_eq!(group.joins().unwrap().len(), 1);

    file("cpu.stat", "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\n");
    file("memory.peak", "1234567\n");
    file("memory.events", "low 0\nhigh 0\nmax 9\noom 0\noom_kill 1\noom_group_kill 0\n");
    assert_eq!(group.cpu_ms().unwrap(), 2500);
    assert_eq!(group.peak_bytes(), Some(1_234_567));
    assert_eq!(group.oom_kills().unwrap(), 1);
    // Killed, but not for its own limit.
    assert!(!group.reached_memory_limit().unwrap());
    file("memory.events", "max 9\noom 1\noom_kill 1\n");
    assert!(group.reached_memory_limit().unwrap());

    // Without swap accounting there is no such file; a limit that cannot be written is an error.
    fs::remove_file(folder.join("memory.swap.max")).unwrap();
    group.limit(&LIMITS).unwrap();
    fs::remove_file(folder.join("pids.max")).unwrap();
    let error = group.limit(&LIMITS).unwrap_err().to_string();
    assert!(error.contains("pids.max"), "{error}");
}

#[test]
fn version_2_is_claimed_where_controllers_can_be_handed_down() {
    let top = tempfile::tempdir().unwrap();
    let (mounted, own) = (top.path().join("unified"), top.path().join("unified/user/session"));
    fs::create_dir_all(&own).unwrap();
    let mounts = format!("30 25 0:26 / {} rw - cgroup2 cgroup2 rw\n", mounted.display());
    // A plain folder has no `cgroup.subtree_control`, like a hierarchy whose controllers are elsewhere.
    assert!(Cgroups::claim_v2("0::/user/session\n", &mounts).is_none());
    assert_eq!(fs::read_dir(&own).unwrap().count(), 0, "nothing is left of the attempt");
}

#[test]
fn a_version_1_kill_below_the_limit_was_not_the_jobs_doing() {
    let folder = tempfile::tempdir().unwrap();
    let group = Group { version: Version::One, folders: vec![folder.path().to_owned()] };
    let peak = |bytes: u64| fs::write(folder.path().join("memory.max_usage_in_bytes"), bytes.to_string());
    fs::write(folder.path().join("memory.limit_in_bytes"), "67108864\n").unwrap();
    peak(30 << 20).unwrap();
    assert!(!group.reached_memory_limit().unwrap());
    peak((64 << 20) - 100_000).unwrap();
    assert!(group.reached_memory_limit().unwrap());
}
