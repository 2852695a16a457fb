//! Tests the table of requests.

use super::*;
use crate::tests::s;

fn absent_caller() -> Responder {
    Responder::Response(Reply::channel().0)
}

fn insert(
    table: &RequestTable,
    id: RequestId,
    request: Request,
    responder: Responder,
    now: Duration,
    deadline: Duration,
) {
    let waiter = Waiter { id, responder, queued_at: now, deadline, ends_at: None };
    table.insert(Arc::new(request), waiter, GroupSet::default());
}

/// Returns a table with these ids, admitted one a second.
fn request_table(ids: &[u64]) -> RequestTable {
    let table = RequestTable::default();
    for (id, second) in ids.iter().zip(1..) {
        let request = Request::post("/x").build().unwrap();
        insert(&table, RequestId(*id), request, absent_caller(), s(second), s(100));
    }
    table
}

fn arrivals(table: &RequestTable) -> Vec<Duration> {
    let arrival = |(id, _)| table.with_entry(id, |entry| entry.queued_at);
    table.phases().into_iter().filter_map(arrival).collect()
}

#[test]
fn ids_follow_arrival_time_in_any_order() {
    assert_eq!(arrivals(&request_table(&[1, 2, 3])), [s(1), s(2), s(3)]);
    assert_eq!(arrivals(&request_table(&[1, 4, 3, 5, 2])), [s(1), s(2), s(2), s(2), s(4)]);
}

#[test]
fn overtaken_request_arrives_on_insert_if_the_other_left() {
    let table = request_table(&[5]);
    drop(table.remove(RequestId(5)));
    insert(&table, RequestId(4), Request::get("/").build().unwrap(), absent_caller(), s(9), s(100));
    assert_eq!(arrivals(&table), [s(9)]);
}

#[test]
fn response_start_goes_to_a_stream_and_is_uncertain_until_end() {
    let (table, id) = (request_table(&[1]), RequestId(1));
    table.begin_attempt(id).unwrap();
    assert!(table.begin_response(id).is_none(), "its caller wants the whole answer");
    let request = Request::post("/x").build().unwrap();
    let (responder, _download) = Reply::channel();
    insert(&table, RequestId(2), request, Responder::Download(responder), s(1), s(9));
    assert!(table.begin_attempt(RequestId(2)).unwrap().is_streaming);
    assert_eq!(table.begin_response(RequestId(2)).unwrap().attempts, 1);
    assert!(table.begin_response(RequestId(2)).is_none(), "its caller has the beginning");
    let loss = table.with_entry(RequestId(2), |entry| entry.abort_error(Reason::Crashed).reason);
    assert_eq!((loss, table.queue_item(RequestId(2))), (Some(Reason::OutcomeUnknown), None));
    assert!(table.set_stream_end_reply(RequestId(2), Reply::channel().0).is_ok());
    drop(table.remove(RequestId(2)));
    assert!(table.set_stream_end_reply(RequestId(2), Reply::channel().0).is_err());
}
