-- ClickHouse, a cluster: the macros cluster, shard and replica are set.
-- Generated from archive/tape_archive/tables/schema.py: python -m tape_archive.tables.ddl config/sql

CREATE TABLE IF NOT EXISTS `trades_local` ON CLUSTER '{cluster}' (
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `receipt_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `symbol` LowCardinality(String),
    `side` LowCardinality(String),
    `amount` Float64 CODEC(ZSTD(3)),
    `price` Float64 CODEC(ZSTD(3)),
    `trade_id` Int64 CODEC(Delta, ZSTD(1)),
    `first_id` Nullable(Int64) CODEC(Delta, ZSTD(1)),
    `last_id` Nullable(Int64) CODEC(Delta, ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', receipt_timestamp)
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (symbol, timestamp, exchange, trade_id)
TTL toDateTime(timestamp) + INTERVAL 7 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `candles_1m_local` ON CLUSTER '{cluster}' (
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `receipt_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `symbol` LowCardinality(String),
    `open` Float64 CODEC(ZSTD(3)),
    `high` Float64 CODEC(ZSTD(3)),
    `low` Float64 CODEC(ZSTD(3)),
    `close` Float64 CODEC(ZSTD(3)),
    `volume` Float64 CODEC(ZSTD(3)),
    `quote_volume` Nullable(Float64) CODEC(ZSTD(3)),
    `trades` Nullable(Int64) CODEC(Delta, ZSTD(1)),
    `taker_volume` Nullable(Float64) CODEC(ZSTD(3)),
    `taker_quote_volume` Nullable(Float64) CODEC(ZSTD(3))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', receipt_timestamp)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (symbol, timestamp, exchange)
TTL toDateTime(timestamp) + INTERVAL 30 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `candles_5m_local` ON CLUSTER '{cluster}' (
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `receipt_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `symbol` LowCardinality(String),
    `open` Float64 CODEC(ZSTD(3)),
    `high` Float64 CODEC(ZSTD(3)),
    `low` Float64 CODEC(ZSTD(3)),
    `close` Float64 CODEC(ZSTD(3)),
    `volume` Float64 CODEC(ZSTD(3)),
    `quote_volume` Nullable(Float64) CODEC(ZSTD(3)),
    `trades` Nullable(Int64) CODEC(Delta, ZSTD(1)),
    `taker_volume` Nullable(Float64) CODEC(ZSTD(3)),
    `taker_quote_volume` Nullable(Float64) CODEC(ZSTD(3))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', receipt_timestamp)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (symbol, timestamp, exchange)
TTL toDateTime(timestamp) + INTERVAL 90 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `candles_30m_local` ON CLUSTER '{cluster}' (
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `receipt_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `symbol` LowCardinality(String),
    `open` Float64 CODEC(ZSTD(3)),
    `high` Float64 CODEC(ZSTD(3)),
    `low` Float64 CODEC(ZSTD(3)),
    `close` Float64 CODEC(ZSTD(3)),
    `volume` Float64 CODEC(ZSTD(3)),
    `quote_volume` Nullable(Float64) CODEC(ZSTD(3)),
    `trades` Nullable(Int64) CODEC(Delta, ZSTD(1)),
    `taker_volume` Nullable(Float64) CODEC(ZSTD(3)),
    `taker_quote_volume` Nullable(Float64) CODEC(ZSTD(3))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', receipt_timestamp)
PARTITION BY toYear(timestamp)
ORDER BY (symbol, timestamp, exchange)
TTL toDateTime(timestamp) + INTERVAL 180 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `candles_4h_local` ON CLUSTER '{cluster}' (
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `receipt_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `symbol` LowCardinality(String),
    `open` Float64 CODEC(ZSTD(3)),
    `high` Float64 CODEC(ZSTD(3)),
    `low` Float64 CODEC(ZSTD(3)),
    `close` Float64 CODEC(ZSTD(3)),
    `volume` Float64 CODEC(ZSTD(3)),
    `quote_volume` Nullable(Float64) CODEC(ZSTD(3)),
    `trades` Nullable(Int64) CODEC(Delta, ZSTD(1)),
    `taker_volume` Nullable(Float64) CODEC(ZSTD(3)),
    `taker_quote_volume` Nullable(Float64) CODEC(ZSTD(3))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', receipt_timestamp)
PARTITION BY toYear(timestamp)
ORDER BY (symbol, timestamp, exchange)
TTL toDateTime(timestamp) + INTERVAL 365 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `candles_1d_local` ON CLUSTER '{cluster}' (
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `receipt_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `symbol` LowCardinality(String),
    `open` Float64 CODEC(ZSTD(3)),
    `high` Float64 CODEC(ZSTD(3)),
    `low` Float64 CODEC(ZSTD(3)),
    `close` Float64 CODEC(ZSTD(3)),
    `volume` Float64 CODEC(ZSTD(3)),
    `quote_volume` Nullable(Float64) CODEC(ZSTD(3)),
    `trades` Nullable(Int64) CODEC(Delta, ZSTD(1)),
    `taker_volume` Nullable(Float64) CODEC(ZSTD(3)),
    `taker_quote_volume` Nullable(Float64) CODEC(ZSTD(3))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', receipt_timestamp)
PARTITION BY tuple()
ORDER BY (symbol, timestamp, exchange)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `ticker_local` ON CLUSTER '{cluster}' (
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `receipt_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `symbol` LowCardinality(String),
    `last` Float64 CODEC(ZSTD(3)),
    `open` Float64 CODEC(ZSTD(3)),
    `high` Float64 CODEC(ZSTD(3)),
    `low` Float64 CODEC(ZSTD(3)),
    `volume` Float64 CODEC(ZSTD(3)),
    `quote_volume` Nullable(Float64) CODEC(ZSTD(3)),
    `trades` Nullable(Int64) CODEC(Delta, ZSTD(1)),
    `last_id` Nullable(Int64) CODEC(Delta, ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', receipt_timestamp)
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (symbol, timestamp, exchange)
TTL toDateTime(timestamp) + INTERVAL 1 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `funding_local` ON CLUSTER '{cluster}' (
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `receipt_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `symbol` LowCardinality(String),
    `rate` Float64 CODEC(ZSTD(3)),
    `mark_price` Nullable(Float64) CODEC(ZSTD(3)),
    `next_funding_time` Nullable(DateTime64(6, 'UTC')) CODEC(Delta, ZSTD(1)),
    `predicted_rate` Nullable(Float64) CODEC(ZSTD(3))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', receipt_timestamp)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (symbol, timestamp, exchange)
TTL toDateTime(timestamp) + INTERVAL 90 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `l2_book_local` ON CLUSTER '{cluster}' (
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `receipt_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `symbol` LowCardinality(String),
    `first_update_id` Int64 CODEC(Delta, ZSTD(1)),
    `last_update_id` Int64 CODEC(Delta, ZSTD(1)),
    `previous_update_id` Nullable(Int64) CODEC(Delta, ZSTD(1)),
    `snapshot` Bool,
    `bid_prices` Array(Float64) CODEC(ZSTD(3)),
    `bid_amounts` Array(Float64) CODEC(ZSTD(3)),
    `ask_prices` Array(Float64) CODEC(ZSTD(3)),
    `ask_amounts` Array(Float64) CODEC(ZSTD(3))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', receipt_timestamp)
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (symbol, timestamp, exchange, last_update_id)
TTL toDateTime(timestamp) + INTERVAL 3 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `liquidations_local` ON CLUSTER '{cluster}' (
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `receipt_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `symbol` LowCardinality(String),
    `side` LowCardinality(String),
    `quantity` Float64 CODEC(ZSTD(3)),
    `price` Float64 CODEC(ZSTD(3)),
    `average_price` Nullable(Float64) CODEC(ZSTD(3)),
    `filled` Nullable(Float64) CODEC(ZSTD(3)),
    `status` LowCardinality(Nullable(String)),
    `liquidation_id` String CODEC(ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', receipt_timestamp)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (symbol, timestamp, exchange, liquidation_id)
TTL toDateTime(timestamp) + INTERVAL 30 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `open_interest_local` ON CLUSTER '{cluster}' (
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `receipt_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `symbol` LowCardinality(String),
    `open_interest` Float64 CODEC(ZSTD(3)),
    `value` Nullable(Float64) CODEC(ZSTD(3))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', receipt_timestamp)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (symbol, timestamp, exchange)
TTL toDateTime(timestamp) + INTERVAL 90 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `index_local` ON CLUSTER '{cluster}' (
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `receipt_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `symbol` LowCardinality(String),
    `index_price` Float64 CODEC(ZSTD(3)),
    `mark_price` Nullable(Float64) CODEC(ZSTD(3)),
    `settle_price` Nullable(Float64) CODEC(ZSTD(3)),
    `funding_rate` Nullable(Float64) CODEC(ZSTD(3)),
    `next_funding_time` Nullable(DateTime64(6, 'UTC')) CODEC(Delta, ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', receipt_timestamp)
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (symbol, timestamp, exchange)
TTL toDateTime(timestamp) + INTERVAL 90 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `custom_candles_local` ON CLUSTER '{cluster}' (
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `receipt_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `symbol` LowCardinality(String),
    `interval` LowCardinality(String),
    `open` Float64 CODEC(ZSTD(3)),
    `high` Float64 CODEC(ZSTD(3)),
    `low` Float64 CODEC(ZSTD(3)),
    `close` Float64 CODEC(ZSTD(3)),
    `volume` Float64 CODEC(ZSTD(3)),
    `quote_volume` Nullable(Float64) CODEC(ZSTD(3)),
    `trades` Nullable(Int64) CODEC(Delta, ZSTD(1)),
    `taker_volume` Nullable(Float64) CODEC(ZSTD(3)),
    `taker_quote_volume` Nullable(Float64) CODEC(ZSTD(3))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', receipt_timestamp)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (symbol, timestamp, exchange, interval)
TTL toDateTime(timestamp) + INTERVAL 365 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `book_ticker_local` ON CLUSTER '{cluster}' (
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `receipt_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `symbol` LowCardinality(String),
    `update_id` Int64 CODEC(Delta, ZSTD(1)),
    `bid` Float64 CODEC(ZSTD(3)),
    `bid_amount` Float64 CODEC(ZSTD(3)),
    `ask` Float64 CODEC(ZSTD(3)),
    `ask_amount` Float64 CODEC(ZSTD(3))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', receipt_timestamp)
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (symbol, timestamp, exchange, update_id)
TTL toDateTime(timestamp) + INTERVAL 1 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `instruments_local` ON CLUSTER '{cluster}' (
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `receipt_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `symbol` LowCardinality(String),
    `native` LowCardinality(String),
    `status` LowCardinality(String),
    `base` LowCardinality(String),
    `quote` LowCardinality(String),
    `multiplier` Float64 CODEC(ZSTD(3)),
    `tick_size` Nullable(Float64) CODEC(ZSTD(3)),
    `lot_size` Nullable(Float64) CODEC(ZSTD(3)),
    `first_seen` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `last_seen` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `listed` Nullable(DateTime64(6, 'UTC')) CODEC(Delta, ZSTD(1)),
    `delisted` Nullable(DateTime64(6, 'UTC')) CODEC(Delta, ZSTD(1)),
    `previous` LowCardinality(Nullable(String))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', receipt_timestamp)
PARTITION BY tuple()
ORDER BY (symbol, timestamp, exchange)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `gap_detection_log_local` ON CLUSTER '{cluster}' (
    `detection_time` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `receipt_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `symbol` LowCardinality(String),
    `log_id` Int64 CODEC(Delta, ZSTD(1)),
    `data_type` LowCardinality(String),
    `interval` LowCardinality(String),
    `gap_start` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `gap_end` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `gap_type` LowCardinality(String),
    `priority` Int64 CODEC(Delta, ZSTD(1)),
    `status` LowCardinality(String),
    `records_expected` Int64 CODEC(Delta, ZSTD(1)),
    `records_filled` Int64 CODEC(Delta, ZSTD(1)),
    `fill_start_time` Nullable(DateTime64(6, 'UTC')) CODEC(Delta, ZSTD(1)),
    `fill_complete_time` Nullable(DateTime64(6, 'UTC')) CODEC(Delta, ZSTD(1)),
    `error_message` Nullable(String) CODEC(ZSTD(1)),
    `retry_count` Int64 CODEC(Delta, ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', receipt_timestamp)
PARTITION BY toYYYYMM(detection_time)
ORDER BY (symbol, detection_time, exchange, log_id)
TTL toDateTime(detection_time) + INTERVAL 30 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `tape_cursors_local` ON CLUSTER '{cluster}' (
    `writer` String,
    `table_name` LowCardinality(String),
    `batch` Int64,
    `position` String,
    `updated` DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', batch)
ORDER BY (writer, table_name);

CREATE TABLE IF NOT EXISTS `trades` ON CLUSTER '{cluster}' AS `trades_local`
ENGINE = Distributed('{cluster}', currentDatabase(), 'trades_local', cityHash64(symbol));

CREATE TABLE IF NOT EXISTS `candles_1m` ON CLUSTER '{cluster}' AS `candles_1m_local`
ENGINE = Distributed('{cluster}', currentDatabase(), 'candles_1m_local', cityHash64(symbol));

CREATE TABLE IF NOT EXISTS `candles_5m` ON CLUSTER '{cluster}' AS `candles_5m_local`
ENGINE = Distributed('{cluster}', currentDatabase(), 'candles_5m_local', cityHash64(symbol));

CREATE TABLE IF NOT EXISTS `candles_30m` ON CLUSTER '{cluster}' AS `candles_30m_local`
ENGINE = Distributed('{cluster}', currentDatabase(), 'candles_30m_local', cityHash64(symbol));

CREATE TABLE IF NOT EXISTS `candles_4h` ON CLUSTER '{cluster}' AS `candles_4h_local`
ENGINE = Distributed('{cluster}', currentDatabase(), 'candles_4h_local', cityHash64(symbol));

CREATE TABLE IF NOT EXISTS `candles_1d` ON CLUSTER '{cluster}' AS `candles_1d_local`
ENGINE = Distributed('{cluster}', currentDatabase(), 'candles_1d_local', cityHash64(symbol));

CREATE TABLE IF NOT EXISTS `ticker` ON CLUSTER '{cluster}' AS `ticker_local`
ENGINE = Distributed('{cluster}', currentDatabase(), 'ticker_local', cityHash64(symbol));

CREATE TABLE IF NOT EXISTS `funding` ON CLUSTER '{cluster}' AS `funding_local`
ENGINE = Distributed('{cluster}', currentDatabase(), 'funding_local', cityHash64(symbol));

CREATE TABLE IF NOT EXISTS `l2_book` ON CLUSTER '{cluster}' AS `l2_book_local`
ENGINE = Distributed('{cluster}', currentDatabase(), 'l2_book_local', cityHash64(symbol));

CREATE TABLE IF NOT EXISTS `liquidations` ON CLUSTER '{cluster}' AS `liquidations_local`
ENGINE = Distributed('{cluster}', currentDatabase(), 'liquidations_local', cityHash64(symbol));

CREATE TABLE IF NOT EXISTS `open_interest` ON CLUSTER '{cluster}' AS `open_interest_local`
ENGINE = Distributed('{cluster}', currentDatabase(), 'open_interest_local', cityHash64(symbol));

CREATE TABLE IF NOT EXISTS `index` ON CLUSTER '{cluster}' AS `index_local`
ENGINE = Distributed('{cluster}', currentDatabase(), 'index_local', cityHash64(symbol));

CREATE TABLE IF NOT EXISTS `custom_candles` ON CLUSTER '{cluster}' AS `custom_candles_local`
ENGINE = Distributed('{cluster}', currentDatabase(), 'custom_candles_local', cityHash64(symbol));

CREATE TABLE IF NOT EXISTS `book_ticker` ON CLUSTER '{cluster}' AS `book_ticker_local`
ENGINE = Distributed('{cluster}', currentDatabase(), 'book_ticker_local', cityHash64(symbol));

CREATE TABLE IF NOT EXISTS `instruments` ON CLUSTER '{cluster}' AS `instruments_local`
ENGINE = Distributed('{cluster}', currentDatabase(), 'instruments_local', cityHash64(symbol));

CREATE TABLE IF NOT EXISTS `gap_detection_log` ON CLUSTER '{cluster}' AS `gap_detection_log_local`
ENGINE = Distributed('{cluster}', currentDatabase(), 'gap_detection_log_local', cityHash64(symbol));

CREATE TABLE IF NOT EXISTS `tape_cursors` ON CLUSTER '{cluster}' AS `tape_cursors_local`
ENGINE = Distributed('{cluster}', currentDatabase(), 'tape_cursors_local', cityHash64(writer));

CREATE VIEW IF NOT EXISTS `candles` ON CLUSTER '{cluster}' AS
SELECT symbol, '1m' AS interval, timestamp, receipt_timestamp, exchange, open, high, low, close, volume, quote_volume, trades, taker_volume, taker_quote_volume FROM candles_1m FINAL
UNION ALL
SELECT symbol, '5m' AS interval, timestamp, receipt_timestamp, exchange, open, high, low, close, volume, quote_volume, trades, taker_volume, taker_quote_volume FROM candles_5m FINAL
UNION ALL
SELECT symbol, '30m' AS interval, timestamp, receipt_timestamp, exchange, open, high, low, close, volume, quote_volume, trades, taker_volume, taker_quote_volume FROM candles_30m FINAL
UNION ALL
SELECT symbol, '4h' AS interval, timestamp, receipt_timestamp, exchange, open, high, low, close, volume, quote_volume, trades, taker_volume, taker_quote_volume FROM candles_4h FINAL
UNION ALL
SELECT symbol, '1d' AS interval, timestamp, receipt_timestamp, exchange, open, high, low, close, volume, quote_volume, trades, taker_volume, taker_quote_volume FROM candles_1d FINAL
UNION ALL
SELECT symbol, interval, timestamp, receipt_timestamp, exchange, open, high, low, close, volume, quote_volume, trades, taker_volume, taker_quote_volume FROM custom_candles FINAL;
