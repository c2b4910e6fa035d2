with weather as (

    select
        weather_key,
        airport_code,
        observed_hour_utc,
        observed_date,
        observed_hour,
        temperature_f,
        dew_point_f,
        humidity_percent,
        wind_direction_degrees,
        case when wind_speed_mph <= {{ var('max_wind_speed_mph') }} then wind_speed_mph end as wind_speed_mph,
        wind_gust_mph,
        precipitation_inches,
        pressure_millibars,
        visibility_miles
    from {{ ref('stg_weather') }}

)

select
    *,
    -- The first that applies, most disruptive first.
    case
        when precipitation_inches >= 0.1 then 'heavy rain or snow'
        when visibility_miles < 3 then 'low visibility'
        when precipitation_inches > 0 then 'light rain or snow'
        when wind_speed_mph >= 20 then 'strong wind'
        else 'fair'
    end as condition
from weather
