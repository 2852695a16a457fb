use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::{FutureExt, stream};
use tempfile::TempDir;

use super::*;

/// Reads a whole body: its bytes or its error, and the number of bytes.
async fn read(body: &Body) -> (usize, Result<(), BodyError>) {
    let mut open = match body.open().await {
        Ok(open) => open,
        Err(error) => return (0, Err(error)),
    };
    let mut bytes = 0;
    while let Some(part) = open.next().await {
        match part {
            Ok(part) => {
                assert!(!part.is_empty() && part.len() <= BODY_PART_BYTES_MAX);
                bytes += part.len();
            }
            Err(error) => {
                assert!(open.next().await.is_none(), "something came after an error");
                return (bytes, Err(error));
            }
        }
    }
    assert!(open.has_ended());
    (bytes, Ok(()))
}

fn stream_of(length: Option<u64>, parts: &[&'static [u8]]) -> Body {
    let parts: Vec<_> = parts.iter().copied().map(Bytes::from_static).collect();
    Body::from_factory(length, move || stream::iter(parts.clone()).map(Ok))
}

fn file_of(bytes: usize) -> (TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, vec![7; bytes]).unwrap();
    (dir, path)
}

fn is_unreadable(error: &BodyError) -> bool {
    matches!(error, BodyError::Unreadable(_))
}

fn is_changed(error: &BodyError) -> bool {
    matches!(error, BodyError::Changed(_))
}

#[tokio::test]
async fn body_in_memory_comes_in_parts_of_bounded_size() {
    assert_eq!(read(&Body::from(Bytes::from(vec![1; BODY_PART_BYTES_MAX * 2 + 1]))).await.0, 131_073);
    assert_eq!(read(&Body::from(Bytes::new())).await, (0, Ok(())));
}

#[tokio::test]
async fn large_parts_are_split_and_empty_ones_skipped() {
    let body = Body::from_factory(None, || {
        let empty = stream::iter(std::iter::repeat_n(Bytes::new(), 1000));
        empty.chain(stream::iter([Bytes::from(vec![1; 200_000]), Bytes::new()])).map(Ok)
    });
    assert_eq!(read(&body).await, (200_000, Ok(())));
}

#[tokio::test]
async fn stream_is_not_polled_ahead() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let body = Body::from_factory(None, move || {
        let counter = Arc::clone(&counter);
        stream::repeat_with(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok(Bytes::from(vec![1; BODY_PART_BYTES_MAX * 2]))
        })
    });
    let mut open = body.open().await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    for taken in 1..10 {
        open.next().await.unwrap().unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), usize::div_ceil(taken, 2));
    }
}

#[tokio::test]
async fn stream_of_wrong_length_fails_before_its_last_part() {
    for (length, parts) in [(7, &[&b"four"[..], b"four"][..]), (4, &[b"four", b"", b"more"]), (0, &[b"x"])] {
        let (bytes, ended) = read(&stream_of(Some(length), parts)).await;
        assert!(
            bytes < length.max(1) as usize,
            "{length}: a receiver that frames by the length has it whole"
        );
        assert!(is_changed(&ended.unwrap_err()), "{length}");
    }
    let (bytes, ended) = read(&stream_of(Some(9), &[b"four", b"four"])).await;
    assert_eq!((bytes, ended.unwrap_err().to_string().as_str()), (8, "it ended after 8 of 9 bytes"));
    assert_eq!(read(&stream_of(Some(8), &[b"four", b"", b"four", b""])).await, (8, Ok(())));
    assert_eq!(read(&stream_of(Some(0), &[b""])).await, (0, Ok(())));
}

#[tokio::test]
async fn stream_that_fails_or_panics_is_unreadable() {
    let fails = Body::from_factory(Some(9), || {
        stream::iter([Ok(Bytes::from_static(b"four")), Err(io::Error::other("worn out"))])
    });
    let (bytes, ended) = read(&fails).await;
    assert_eq!(bytes, 4);
    assert_eq!(ended, Err(BodyError::Unreadable("reading it failed: worn out".to_owned())));
    let panics = Body::from_factory(None, || stream::once(async { panic!("the source panics on purpose") }));
    assert!(is_unreadable(&read(&panics).await.1.unwrap_err()));
}

#[tokio::test]
async fn factory_stream_reopens_and_single_use_is_spent() {
    let fresh = stream_of(Some(4), &[b"four"]);
    assert_eq!((read(&fresh).await.0, read(&fresh).await.0), (4, 4));
    assert!(!fresh.is_spent());

    let once = Body::from_stream(None, stream::iter([Ok(Bytes::from_static(b"four"))]));
    drop(once.open().await.unwrap());
    assert!(!once.is_spent(), "it was opened, but nothing was read");
    assert_eq!(read(&once).await, (4, Ok(())));
    assert!(once.is_spent() && once.clone().is_spent());
    assert!(is_unreadable(&read(&once).await.1.unwrap_err()));
}

#[tokio::test]
async fn file_is_read_whole_each_time() {
    let (_dir, path) = file_of(BODY_PART_BYTES_MAX * 3 + 5);
    let body = Body::from_file(&path);
    assert_eq!(read(&body).await, (BODY_PART_BYTES_MAX * 3 + 5, Ok(())));
    fs::write(&path, b"other").unwrap();
    assert_eq!(body.open().await.unwrap().length(), Some(5));
    assert_eq!(read(&body).await, (5, Ok(())));
    fs::write(&path, b"").unwrap();
    assert_eq!(read(&body).await, (0, Ok(())));
}

#[tokio::test]
async fn non_file_is_unreadable_with_the_cause() {
    let dir = tempfile::tempdir().unwrap();
    let why = |path: std::path::PathBuf| async move { read(&Body::from_file(&path)).await.1.unwrap_err() };
    let missing = why(dir.path().join("missing")).await;
    assert!(is_unreadable(&missing) && missing.to_string().contains("missing: "), "{missing}");
    let folder = why(dir.path().to_owned()).await;
    assert!(is_unreadable(&folder) && folder.to_string().ends_with(": it is a folder"), "{folder}");
    #[cfg(unix)]
    {
        let device = why("/dev/zero".into()).await;
        assert!(device.to_string().ends_with(": it is not a regular file"), "{device}");
    }
}

#[tokio::test]
async fn overwritten_file_of_same_length_fails() {
    let (_dir, path) = file_of(BODY_PART_BYTES_MAX * 2);
    let mut open = Body::from_file(&path).open().await.unwrap();
    open.next().await.unwrap().unwrap();
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    assert!(is_changed(&open.next().await.unwrap().unwrap_err()));
}

#[tokio::test]
async fn body_debug_shows_no_content() {
    let secret = Body::from(Bytes::from_static(b"sesame"));
    let shown = format!("{secret:?} {:?} {:?}", Body::from_file(Path::new("/sesame")), secret.open().await);
    assert!(!shown.contains("sesame"), "{shown}");
    assert_eq!(format!("{:?}", stream_of(Some(4), &[b"four"])), "a stream of Some(4) bytes");
}

#[test]
fn in_memory_body_opens_at_once() {
    assert!(Body::from(Bytes::from_static(b"body")).open().now_or_never().is_some());
}
