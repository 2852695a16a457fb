//! Tests the reports of exits.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[tokio::test]
async fn exit_reports_code_signal_and_last_line() {
    let fixture = ProcessFixture::new().await;
    let failed = "it exited with code 1; its last line on stderr: giving up";
    for (text, code, signal, report) in [
        ("exit 0", Some(0), None, "it exited with code 0"),
        ("echo no model >&2; printf 'giving up' >&2; exit 1", Some(1), None, failed),
        ("kill -s KILL $$", None, Some(9), "it was ended by signal 9 (KILL)"),
    ] {
        let it = fixture.start(&script(text)).await;
        let exit = timeout(LIMIT, it.process.exited()).await.unwrap();
        assert_eq!((exit.code, exit.signal, exit.is_success()), (code, signal, code == Some(0)), "{text}");
        assert_eq!(exit.to_string(), report, "{text}");
    }
}

#[tokio::test]
async fn exit_reaches_current_and_later_waiters() {
    let fixture = ProcessFixture::new().await;
    let mut it = fixture.start(&script("read -r _; exit 7")).await;
    let waiters = [it.process.exited(), it.process.exited()];
    assert_eq!(it.process.exit(), None);
    it.pipes.stdin = None;
    for waiter in waiters {
        assert_eq!(timeout(LIMIT, waiter).await.unwrap().code, Some(7));
    }
    assert_eq!(timeout(LIMIT, it.process.exited()).await.unwrap().code, Some(7));
    assert_eq!(it.process.exit().unwrap().code, Some(7));
    assert_eq!(timeout(LIMIT, it.process.stop()).await.unwrap().code, Some(7));
}

#[tokio::test]
async fn missing_interpreter_is_an_error_of_the_start() {
    let fixture = ProcessFixture::new().await;
    let file = fixture.folder.path().join("tool");
    std::fs::write(&file, "#!/mainstay/has/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    let spec = ProcessSpec::new("tool", [file.to_str().unwrap()]);
    let error = Process::start(&spec, &fixture.manager).await.err().unwrap();
    assert!(error.to_string().contains("/mainstay/has/no/such/interpreter"), "{error}");
}

#[tokio::test]
async fn process_gets_its_env_cwd_arguments_and_pid() {
    let fixture = ProcessFixture::new().await;
    let mut spec = script(r#"echo "$$ $WORD $(pwd -P) $MAINSTAY_PROCESS"; echo "$#: $1,$2""#);
    spec.env.insert("WORD".to_owned(), "two words".to_owned());
    spec.cwd = Some(fixture.folder.path().canonicalize().unwrap());
    spec.command.extend(["a  b".to_owned(), "$HOME".to_owned()]);
    let mut it = fixture.start(&spec).await;
    let (pid, folder) = (it.process.pid(), spec.cwd.as_ref().unwrap().display());
    let marker = it.process.identity().marker.clone();
    assert_eq!(it.read_line().await, format!("{pid} two words {folder} {marker}"));
    assert_eq!(it.read_line().await, "2: a  b,$HOME");
}

#[tokio::test]
async fn output_flood_does_not_block_and_keeps_the_tail() {
    let fixture = ProcessFixture::new().await;
    let flood = "i=0; while [ $i -lt 20 ]; do i=$((i+1)); \
                 head -c 1000000 /dev/zero | tr '\\0' x >&2; head -c 1000000 /dev/zero; \
                 j=0; while [ $j -lt 100 ]; do j=$((j+1)); echo \"line $i $j\" >&2; done; done";
    let spec = script(flood);
    let mut it = fixture.start(&spec).await;
    assert_eq!(it.wait_gone().await.len(), 20_000_000);
    let exit = timeout(LIMIT, it.process.exited()).await.unwrap();
    assert!(exit.is_success(), "{exit}");
    assert_eq!(exit.stderr_line.as_deref(), Some("line 20 100"));
    let lines: Vec<String> = (81..=100).map(|n| format!("line 20 {n}")).collect();
    assert_eq!(spec.log.excerpt(), lines);
}

#[tokio::test]
async fn exit_is_reported_though_a_child_holds_stderr_open() {
    let fixture = ProcessFixture::new().await;
    // The process does not end when it is asked to, so it is there while its exit is reported.
    let it = fixture.start(&script("(trap '' TERM; exec sleep 1000) & echo alas >&2; exit 4")).await;
    let exit = timeout(LIMIT, it.process.exited()).await.unwrap();
    assert_eq!((exit.code, exit.stderr_line.as_deref()), (Some(4), Some("alas")));
}
