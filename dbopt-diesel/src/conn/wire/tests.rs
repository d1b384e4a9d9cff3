use super::*;

fn error(code: &str, severity: &str) -> Vec<u8> {
    format!("S{severity}\0V{severity}\0C{code}\0Msomething happened\0\0").into_bytes()
}

fn wire() -> (Arc<Wire>, Arc<Mutex<Vec<Statement>>>) {
    let seen: Arc<Mutex<Vec<Statement>>> = Arc::default();
    let sink = seen.clone();
    let watch: Arc<dyn StatementWatch> = Arc::new(move |s: &Statement| sink.lock().push(s.clone()));
    let wire = Wire::new("n".into(), Some(watch), None);
    wire.start(false, false);
    wire.watch_from_now();
    (wire, seen)
}

#[test]
fn busy_until_every_request_is_answered() {
    let (wire, _) = wire();
    wire.sent(b'S', b"");
    wire.sent(b'Q', b"SELECT 1\0");
    wire.received(b'Z', b"I", &mut Moment::default());
    assert!(wire.is_busy());
    wire.received(b'Z', b"T", &mut Moment::default());
    assert!(!wire.is_busy() && wire.in_transaction());
}

#[test]
fn closing_a_statement_keeps_nobody_busy() {
    let (wire, _) = wire();
    wire.sent(b'C', b"Ss1\0");
    wire.sent(b'S', b"");
    assert!(!wire.is_busy());
    wire.sent(b'Q', b"SELECT 1\0");
    wire.received(b'3', b"", &mut Moment::default());
    wire.received(b'Z', b"I", &mut Moment::default());
    assert!(wire.is_busy(), "the query is still unanswered");
    wire.received(b'Z', b"I", &mut Moment::default());
    assert!(!wire.is_busy());
}

#[test]
fn a_server_that_waits_for_copy_data_is_given_to_nobody() {
    let (wire, _) = wire();
    wire.sent(b'Q', b"COPY t FROM STDIN\0");
    wire.received(b'G', b"", &mut Moment::default());
    assert!(wire.is_closed());
}

#[test]
fn a_commit_that_rolls_back_is_known() {
    let (wire, _) = wire();
    for (sql, tag, state, rolled_back) in [
        ("BEGIN", "BEGIN\0", b"T", false),
        ("COMMIT", "ROLLBACK\0", b"I", true),
        ("BEGIN", "BEGIN\0", b"T", true),
        ("ROLLBACK TO SAVEPOINT x", "ROLLBACK\0", b"T", true),
        ("COMMIT", "COMMIT\0", b"I", false),
    ] {
        wire.sent(b'Q', sql.as_bytes());
        wire.received(b'C', tag.as_bytes(), &mut Moment::default());
        wire.received(b'Z', state, &mut Moment::default());
        assert_eq!(wire.rolled_back(), rolled_back, "{sql}");
    }
}

#[test]
fn an_error_belongs_to_the_statement_that_the_server_was_at() {
    let (wire, seen) = wire();
    wire.sent(b'P', b"a\0SELECT broken\0\0\0");
    wire.sent(b'S', b"");
    wire.sent(b'Q', b"SELECT 1\0");
    wire.received(b'E', &error("42703", "ERROR"), &mut Moment::default());
    wire.received(b'Z', b"I", &mut Moment::default());
    wire.received(b'C', b"SELECT 1\0", &mut Moment::default());
    wire.received(b'Z', b"I", &mut Moment::default());
    let seen: Vec<_> = seen.lock().iter().map(|s| (s.sql.to_string(), s.affected())).collect();
    assert_eq!(seen, [("SELECT broken".into(), None), ("SELECT 1".into(), Some(1))]);
}

#[test]
fn an_implicit_commit_that_fails_names_its_statement() {
    let (wire, seen) = wire();
    wire.sent(b'P', b"a\0INSERT\0\0\0");
    wire.sent(b'B', b"\0a\0");
    wire.sent(b'E', b"\0\0\0\0\0");
    wire.sent(b'S', b"");
    wire.received(b'1', b"", &mut Moment::default());
    wire.received(b'C', b"INSERT 0 1\0", &mut Moment::default());
    wire.received(b'E', &error("23503", "ERROR"), &mut Moment::default());
    wire.received(b'Z', b"I", &mut Moment::default());
    let seen = seen.lock();
    assert_eq!((&*seen[1].sql, &seen[1].end), ("INSERT", &End::Failed { sqlstate: SqlState(*b"23503") }));
}

#[tokio::test]
async fn a_farewell_wakes_who_waits_for_the_answer_and_what_came_behind_it_is_lost() {
    let (wire, seen) = wire();
    wire.sent(b'Q', b"SELECT 1\0");
    wire.sent(b'Q', b"SELECT 2\0");
    let waiting = tokio::spawn({
        let wire = wire.clone();
        async move { wire.until_idle().await }
    });
    tokio::task::yield_now().await;
    wire.received(b'E', &error("57P01", "FATAL"), &mut Moment::default());
    waiting.await.unwrap();
    wire.close(None);
    let ends: Vec<_> = seen.lock().iter().map(|s| s.end.clone()).collect();
    assert_eq!(ends[0], End::Failed { sqlstate: SqlState(*b"57P01") });
    assert_eq!(ends.last(), Some(&End::Lost));
}

#[test]
fn the_worst_fault_of_a_call_is_kept_and_forgotten_with_it() {
    let (wire, _) = wire();
    wire.received(b'E', &error("57P01", "FATAL"), &mut Moment::default());
    wire.received(b'E', &error("23505", "ERROR"), &mut Moment::default());
    let fault = wire.fault().unwrap();
    assert_eq!((fault.kind, fault.sqlstate), (FaultKind::ConnectionLost, Some(SqlState(*b"57P01"))));
    assert!(wire.is_closed(), "a session that was ended is given to nobody");
    wire.forget_faults();
    assert_eq!(wire.fault(), None);
}

#[test]
fn a_serialization_failure_on_a_standby_is_a_conflict() {
    let (wire, _) = wire();
    wire.received(b'S', b"in_hot_standby\0on\0", &mut Moment::default());
    wire.received(b'E', &error("40001", "ERROR"), &mut Moment::default());
    assert_eq!(wire.fault().map(|f| f.kind), Some(FaultKind::RecoveryConflict));
}

#[test]
fn pipelined_statements_end_in_order_with_their_own_rows() {
    let (wire, seen) = wire();
    for (name, sql) in [("a", "SELECT a"), ("b", "SELECT b")] {
        wire.sent(b'P', format!("{name}\0{sql}\0\0\0").as_bytes());
        wire.sent(b'S', b"");
        wire.received(b'1', b"", &mut Moment::default());
        wire.received(b'Z', b"I", &mut Moment::default());
    }
    for name in ["a", "b"] {
        wire.sent(b'B', format!("\0{name}\0").as_bytes());
        wire.sent(b'E', b"\0\0\0\0\0");
        wire.sent(b'S', b"");
    }
    wire.received(b'D', b"", &mut Moment::default());
    wire.received(b'D', b"", &mut Moment::default());
    wire.received(b'C', b"SELECT 2\0", &mut Moment::default());
    wire.received(b'Z', b"I", &mut Moment::default());
    wire.received(b'E', &error("22012", "ERROR"), &mut Moment::default());
    wire.received(b'Z', b"I", &mut Moment::default());
    let seen = seen.lock();
    assert_eq!((&*seen[0].sql, seen[0].rows, seen[0].affected()), ("SELECT a", 2, Some(2)));
    assert!(seen[0].first_row.is_some());
    assert_eq!((&*seen[1].sql, &seen[1].end), ("SELECT b", &End::Failed { sqlstate: SqlState(*b"22012") }));
}

#[test]
fn a_script_reports_each_of_its_statements() {
    let (wire, seen) = wire();
    wire.sent(b'Q', b"BEGIN; UPDATE t\0");
    wire.received(b'C', b"BEGIN\0", &mut Moment::default());
    wire.received(b'C', b"UPDATE 3\0", &mut Moment::default());
    wire.received(b'Z', b"T", &mut Moment::default());
    assert_eq!(seen.lock().iter().map(|s| s.affected()).collect::<Vec<_>>(), [None, Some(3)]);
}

#[test]
fn what_was_on_its_way_is_lost_with_the_connection() {
    let (wire, seen) = wire();
    wire.sent(b'Q', b"SELECT pg_sleep(9)\0");
    wire.close(None);
    assert_eq!(seen.lock()[0].end, End::Lost);
    assert_eq!(wire.fault().map(|f| f.kind), Some(FaultKind::ConnectionLost));
}
