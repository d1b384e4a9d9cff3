-- What is generated refers to what is there: no need to look for each row.
SET session_replication_role = replica;
INSERT INTO airlines SELECT 'C' || n, 'Airline ' || n FROM generate_series(0, 15) AS n;
INSERT INTO airports SELECT 'A' || n, 'Airport ' || n, n % 90, n % 180, n, 'UTC' FROM generate_series(0, 299) AS n;
INSERT INTO planes
SELECT 'N' || n, 1980 + n % 40, 'Maker ' || n % 20, 'Model ' || n % 200, 'Turbo', 2, 180 FROM generate_series(0, 3999) AS n;
INSERT INTO weather (origin, hour, temp, wind_speed, precip)
SELECT 'A' || n % 40, timestamptz '2026-01-01 00:00Z' + n / 40 * interval '1 hour', n % 40, n % 30, 0 FROM generate_series(0, 39999) AS n;
INSERT INTO flights (carrier, number, origin, dest, tailnum, sched_dep, sched_arr, dep, dep_delay, distance, status, seats_total)
SELECT 'C' || n % 16, n % 5000, 'A' || n * 7 % 300, 'A' || (n * 11 + 3) % 300, CASE WHEN n % 6 > 0 THEN 'N' || n * 13 % 4000 END,
       timestamptz '2026-01-01 00:00Z' + n * interval '10 minutes', timestamptz '2026-01-01 02:00Z' + n * interval '10 minutes',
       CASE WHEN n % 50 > 4 THEN timestamptz '2026-01-01 00:05Z' + n * interval '10 minutes' END, n * 31 % 400 - 20, 500 + n % 3000,
       CASE WHEN n % 50 = 0 THEN 'cancelled' WHEN n % 50 < 5 THEN 'scheduled' ELSE 'departed' END, 180
FROM generate_series(1, 60000) AS n;
INSERT INTO bookings (flight_id, seat, passenger, created_at)
SELECT n % 60000 + 1, n / 60000 + 1, 'passenger ' || n::bigint * 7919 % 50000, timestamptz '2026-01-01 00:00Z' + n::bigint * 7907 % 200000 * interval '1 minute'
FROM generate_series(0, 199999) AS n;
