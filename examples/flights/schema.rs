// @generated automatically by Diesel CLI.

diesel::table! {
    airlines (carrier) {
        carrier -> Text,
        name -> Text,
    }
}

diesel::table! {
    airports (faa) {
        faa -> Text,
        name -> Text,
        lat -> Float8,
        lon -> Float8,
        alt -> Int4,
        tzone -> Nullable<Text>,
    }
}

diesel::table! {
    bookings (id) {
        id -> Int8,
        flight_id -> Int8,
        seat -> Int4,
        passenger -> Text,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    flights (id) {
        id -> Int8,
        carrier -> Text,
        number -> Int4,
        origin -> Text,
        dest -> Text,
        tailnum -> Nullable<Text>,
        sched_dep -> Timestamptz,
        sched_arr -> Timestamptz,
        dep -> Nullable<Timestamptz>,
        arr -> Nullable<Timestamptz>,
        dep_delay -> Nullable<Int4>,
        arr_delay -> Nullable<Int4>,
        distance -> Int4,
        status -> Text,
        seats_total -> Int4,
        seats_booked -> Int4,
    }
}

diesel::table! {
    planes (tailnum) {
        tailnum -> Text,
        year -> Nullable<Int4>,
        manufacturer -> Text,
        model -> Text,
        engine -> Text,
        engines -> Int4,
        seats -> Int4,
    }
}

diesel::table! {
    weather (origin, hour) {
        origin -> Text,
        hour -> Timestamptz,
        temp -> Nullable<Float8>,
        dewp -> Nullable<Float8>,
        humid -> Nullable<Float8>,
        wind_dir -> Nullable<Int4>,
        wind_speed -> Nullable<Float8>,
        wind_gust -> Nullable<Float8>,
        precip -> Nullable<Float8>,
        pressure -> Nullable<Float8>,
        visib -> Nullable<Float8>,
    }
}

diesel::joinable!(bookings -> flights (flight_id));
diesel::joinable!(flights -> airlines (carrier));
diesel::joinable!(weather -> airports (origin));

diesel::allow_tables_to_appear_in_same_query!(airlines, airports, bookings, flights, planes, weather,);
