-- want: bookings(passenger)
SELECT id, seat FROM bookings WHERE passenger = $1;
-- want: flights(tailnum)
SELECT id, origin, dest FROM flights WHERE tailnum = $1;
-- want: flights(tailnum) | flights(tailnum, sched_dep)
SELECT id, origin FROM flights WHERE tailnum = $1 ORDER BY sched_dep DESC LIMIT $2;
-- want: none
SELECT id, carrier, number FROM flights WHERE id = $1;
-- want: none
SELECT id FROM flights WHERE origin = $1 AND sched_dep >= $2 AND sched_dep < $3 ORDER BY sched_dep, id LIMIT $4;
-- want: none
SELECT id FROM flights WHERE dest = $1 AND sched_arr >= $2 ORDER BY sched_arr, id LIMIT 50;
-- want: none
SELECT id FROM flights WHERE sched_dep BETWEEN $1 AND $2 ORDER BY sched_dep, id;
-- want: none
SELECT seat, passenger FROM bookings WHERE flight_id = $1 ORDER BY seat;
-- want: bookings(created_at)
SELECT id, passenger FROM bookings ORDER BY created_at DESC LIMIT 20;
-- want: bookings((lower(passenger)))
SELECT id FROM bookings WHERE lower(passenger) = $1;
-- want: bookings(passenger) | bookings(passenger text_pattern_ops)
SELECT id FROM bookings WHERE passenger LIKE 'passenger 1234%';
-- want: none
SELECT id FROM bookings WHERE passenger LIKE '%1234';
-- want: none
SELECT id FROM bookings WHERE passenger ILIKE $1;
-- want: none
SELECT id, number FROM flights WHERE status = $1;
-- want: none
SELECT count(*) FROM flights WHERE status = 'departed';
-- want: none
SELECT id FROM flights WHERE dep_delay > $1;
-- want: none
SELECT faa FROM airports WHERE name = $1;
-- want: none
SELECT carrier FROM airlines WHERE name = $1;
-- want: none
SELECT tailnum FROM planes WHERE manufacturer = $1;
-- want: none
SELECT temp, wind_speed FROM weather WHERE origin = $1 AND hour <= $2 ORDER BY hour DESC LIMIT 1;
-- want: weather(hour)
SELECT origin, temp FROM weather WHERE hour = $1;
-- want: weather(hour)
SELECT origin, avg(temp) FROM weather WHERE hour BETWEEN $1 AND $2 GROUP BY origin;
-- want: bookings(passenger)
SELECT f.id, f.origin, b.seat FROM flights AS f JOIN bookings AS b ON b.flight_id = f.id WHERE b.passenger = $1 ORDER BY f.sched_dep;
-- want: flights(tailnum)
SELECT f.id FROM flights AS f JOIN planes AS p ON p.tailnum = f.tailnum WHERE p.model = $1;
-- want: none
UPDATE flights SET dep_delay = $2 WHERE id = $1;
-- want: bookings(passenger)
UPDATE bookings SET passenger = $2 WHERE passenger = $1;
-- want: none
DELETE FROM bookings WHERE created_at < $1;
-- want: bookings(passenger)
DELETE FROM bookings WHERE passenger = $1;
-- want: none
SELECT count(*) FROM bookings;
-- want: none
SELECT status, count(*) FROM flights GROUP BY status;
-- want: bookings(created_at)
SELECT max(created_at) FROM bookings;
-- want: none
SELECT max(sched_dep) FROM flights;
-- want: none
SELECT id FROM flights WHERE carrier = $1 AND number = $2 AND sched_dep = $3;
-- want: flights(number) | flights(number, carrier)
SELECT id FROM flights WHERE number = $1;
-- want: bookings(passenger)
SELECT id FROM bookings WHERE passenger IN ($1, $2, $3);
-- want: bookings(passenger)
SELECT id FROM bookings WHERE passenger = ANY ($1);
-- want: flights(tailnum)
SELECT id FROM flights WHERE tailnum = $1 AND status = $2;
-- want: none
SELECT id FROM flights WHERE date(sched_dep) = $1;
-- want: flights(((sched_dep AT TIME ZONE 'UTC')::DATE))
SELECT id FROM flights WHERE (sched_dep AT TIME ZONE 'UTC')::date = $1;
-- want: bookings(passenger)
SELECT id FROM bookings WHERE passenger = $1 AND created_at > $2;
-- want: bookings(passenger)
SELECT id FROM bookings WHERE passenger = $1 OR flight_id = $2;
-- want: flights(dest, origin) | flights(origin, dest)
SELECT id, sched_dep FROM flights WHERE origin = $1 AND dest = $2;
-- want: flights(tailnum)
SELECT id FROM flights AS f WHERE tailnum = $1 AND EXISTS (SELECT FROM bookings AS b WHERE b.flight_id = f.id);
-- want: bookings(created_at) | bookings(created_at, id)
SELECT id, created_at FROM bookings WHERE (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT 20;
-- want: none
SELECT id FROM flights ORDER BY id LIMIT 20 OFFSET $1;
-- want: none
INSERT INTO bookings (flight_id, seat, passenger) VALUES ($1, $2, $3);
-- want: none
SELECT origin, count(*) FROM flights GROUP BY origin ORDER BY 2 DESC LIMIT 10;
-- want: bookings(created_at)
SELECT id FROM bookings WHERE created_at >= $1 AND created_at < $2;
