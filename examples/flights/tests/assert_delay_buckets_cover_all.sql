-- Each delay falls into exactly one range.
select
    (select count(arrival_delay_minutes) from {{ ref('fct_flights') }}) as with_delay,
    (select sum(flights) from {{ ref('delay_distribution') }}) as in_buckets
where
    (select count(arrival_delay_minutes) from {{ ref('fct_flights') }})
    <> (select sum(flights) from {{ ref('delay_distribution') }})
