create schema raw;
create table raw.accounts as select *, timestamp '2026-01-05 10:00:00' as ingested_at, 'accounts.csv' as source_file from read_csv_auto('data/accounts.csv', header = true);
create table raw.subscriptions as select *, timestamp '2026-01-05 10:00:00' as ingested_at, 'subscriptions.csv' as source_file from read_csv_auto('data/subscriptions.csv', header = true);
create table raw.feature_usage as select *, timestamp '2026-01-05 10:00:00' as ingested_at, 'feature_usage.csv' as source_file from read_csv_auto('data/feature_usage.csv', header = true);
create table raw.support_tickets as select *, timestamp '2026-01-05 10:00:00' as ingested_at, 'support_tickets.csv' as source_file from read_csv_auto('data/support_tickets.csv', header = true);
create table raw.churn_events as select *, timestamp '2026-01-05 10:00:00' as ingested_at, 'churn_events.csv' as source_file from read_csv_auto('data/churn_events.csv', header = true);
