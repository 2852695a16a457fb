//! How exits are told.

use std::os::unix::fs::PermissionsExt;

use mainstay_actors::process::{Process, ProcessSpec, StartFault};
use tokio::time::timeout;

use crate::scene::{LIMIT, Scene, script};

#[tokio::test]
async fn a_process_that_exits_0_at_once_is_told_of_as_a_success() {
    let scene = Scene::new().await;
    let it = scene.start(&script("exit 0")).await;
    let exit = timeout(LIMIT, it.process.exited()).await.unwrap();
    assert!(exit.is_success());
    assert_eq!(exit.to_string(), "it exited with code 0");
}

#[tokio::test]
async fn a_process_that_fails_is_told_of_with_its_code_and_its_last_words() {
    let scene = Scene::new().await;
    let it = scene.start(&script("echo no model >&2; printf 'giving up' >&2; exit 1")).await;
    let exit = timeout(LIMIT, it.process.exited()).await.unwrap();
    assert_eq!((exit.code, exit.signal), (Some(1), None));
    assert_eq!(exit.to_string(), "it exited with code 1; its last words on stderr: no model | giving up");
}

#[tokio::test]
async fn a_process_that_is_killed_is_told_of_with_the_signal() {
    let scene = Scene::new().await;
    let it = scene.start(&script("kill -s KILL $$")).await;
    let exit = timeout(LIMIT, it.process.exited()).await.unwrap();
    assert_eq!((exit.code, exit.signal), (None, Some(9)));
}

#[tokio::test]
async fn everybody_who_waits_hears_of_the_exit_and_so_does_who_comes_later() {
    let scene = Scene::new().await;
    let mut it = scene.start(&script("read -r _; exit 7")).await;
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
async fn what_cannot_be_started_is_told_before_anything_runs() {
    let scene = Scene::new().await;
    let notes = scene.folder.path().join("notes");
    std::fs::write(&notes, "text").unwrap();
    let start = async |spec: ProcessSpec| Process::start(&spec, &scene.warden).await.unwrap_err();
    let fault = start(ProcessSpec::new("it", ["mainstay-has-no-such-program"])).await;
    assert!(matches!(fault, StartFault::NoProgram { .. }), "{fault}");
    let fault = start(ProcessSpec::new("it", [notes.to_str().unwrap()])).await;
    assert!(matches!(fault, StartFault::NotRunnable { .. }), "{fault}");
    let fault = start(ProcessSpec { cwd: Some(notes.join("missing")), ..script("exit 0") }).await;
    assert!(matches!(fault, StartFault::NoFolder { .. }), "{fault}");
    assert_eq!(scene.record(), "");
}

#[tokio::test]
async fn a_program_that_lacks_its_interpreter_is_told_of_by_its_exit() {
    let scene = Scene::new().await;
    let file = scene.folder.path().join("tool");
    std::fs::write(&file, "#!/mainstay/has/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    let it = scene.start(&ProcessSpec::new("tool", [file.to_str().unwrap()])).await;
    let exit = timeout(LIMIT, it.process.exited()).await.unwrap();
    assert!([Some(126), Some(127)].contains(&exit.code), "{exit}");
    assert!(!exit.stderr.is_empty());
}

#[tokio::test]
async fn a_process_has_its_environment_its_folder_its_arguments_and_the_id_that_it_is_known_by() {
    let scene = Scene::new().await;
    let mut spec = script(r#"echo "$$ $WORD $(pwd -P) $MAINSTAY_PROCESS"; echo "$#: $1,$2""#);
    spec.env.insert("WORD".to_owned(), "two words".to_owned());
    spec.cwd = Some(scene.folder.path().canonicalize().unwrap());
    spec.command.extend(["a  b".to_owned(), "$HOME".to_owned()]);
    let mut it = scene.start(&spec).await;
    let (pid, folder) = (it.process.pid(), spec.cwd.as_ref().unwrap().display());
    let marker = it.process.identity().marker.clone();
    assert_eq!(it.line().await, format!("{pid} two words {folder} {marker}"));
    assert_eq!(it.line().await, "2: a  b,$HOME");
}

#[tokio::test]
async fn a_flood_on_both_outputs_holds_nobody_up_and_only_its_end_is_kept() {
    let scene = Scene::new().await;
    let flood = "i=0; while [ $i -lt 20 ]; do i=$((i+1)); \
                 head -c 1000000 /dev/zero | tr '\\0' x >&2; head -c 1000000 /dev/zero; \
                 j=0; while [ $j -lt 100 ]; do j=$((j+1)); echo \"line $i $j\" >&2; done; done";
    let mut it = scene.start(&script(flood)).await;
    assert_eq!(it.gone().await.len(), 20_000_000);
    let exit = timeout(LIMIT, it.process.exited()).await.unwrap();
    assert!(exit.is_success(), "{exit}");
    assert_eq!((exit.stderr.len(), exit.stderr[63].as_str()), (64, "line 20 100"));
}

#[tokio::test]
async fn last_words_are_told_though_a_process_that_was_started_by_it_keeps_stderr_open() {
    let scene = Scene::new().await;
    // It does not end when it is asked to, so it is there while the exit is told.
    let it = scene.start(&script("(trap '' TERM; exec sleep 1000) & echo alas >&2; exit 4")).await;
    let exit = timeout(LIMIT, it.process.exited()).await.unwrap();
    assert_eq!((exit.code, exit.stderr.as_slice()), (Some(4), &["alas".to_owned()][..]));
}
