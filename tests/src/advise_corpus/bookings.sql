SET session_replication_role = replica;
INSERT INTO bookings (flight_id, seat, passenger, created_at)
SELECT id, seat, 'passenger ' || (id * 7919 + seat * 104729) % 50000, sched_dep - (id * 31 + seat * 17) % 90 * interval '1 day'
FROM flights, generate_series(1, 4) AS seat WHERE id % 6 = 0;
