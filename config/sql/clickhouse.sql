-- ClickHouse, one server. tape_archive.tables makes the same by itself.
-- Generated from archive/tape_archive/tables/schema.py: python -m tape_archive.tables.ddl config/sql

CREATE TABLE IF NOT EXISTS `trades` (
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
ENGINE = ReplacingMergeTree(receipt_timestamp)
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (symbol, timestamp, exchange, trade_id)
TTL toDateTime(timestamp) + INTERVAL 7 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `candles_1m` (
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
ENGINE = ReplacingMergeTree(receipt_timestamp)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (symbol, timestamp, exchange)
TTL toDateTime(timestamp) + INTERVAL 30 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `candles_5m` (
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
ENGINE = ReplacingMergeTree(receipt_timestamp)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (symbol, timestamp, exchange)
TTL toDateTime(timestamp) + INTERVAL 90 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `candles_30m` (
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
ENGINE = ReplacingMergeTree(receipt_timestamp)
PARTITION BY toYear(timestamp)
ORDER BY (symbol, timestamp, exchange)
TTL toDateTime(timestamp) + INTERVAL 180 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `candles_4h` (
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
ENGINE = ReplacingMergeTree(receipt_timestamp)
PARTITION BY toYear(timestamp)
ORDER BY (symbol, timestamp, exchange)
TTL toDateTime(timestamp) + INTERVAL 365 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `candles_1d` (
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
ENGINE = ReplacingMergeTree(receipt_timestamp)
PARTITION BY tuple()
ORDER BY (symbol, timestamp, exchange)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `ticker` (
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
ENGINE = ReplacingMergeTree(receipt_timestamp)
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (symbol, timestamp, exchange)
TTL toDateTime(timestamp) + INTERVAL 1 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `funding` (
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `receipt_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `symbol` LowCardinality(String),
    `rate` Float64 CODEC(ZSTD(3)),
    `mark_price` Nullable(Float64) CODEC(ZSTD(3)),
    `next_funding_time` Nullable(DateTime64(6, 'UTC')) CODEC(Delta, ZSTD(1)),
    `predicted_rate` Nullable(Float64) CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(receipt_timestamp)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (symbol, timestamp, exchange)
TTL toDateTime(timestamp) + INTERVAL 90 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `l2_book` (
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
ENGINE = ReplacingMergeTree(receipt_timestamp)
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (symbol, timestamp, exchange, last_update_id)
TTL toDateTime(timestamp) + INTERVAL 3 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `liquidations` (
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
ENGINE = ReplacingMergeTree(receipt_timestamp)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (symbol, timestamp, exchange, liquidation_id)
TTL toDateTime(timestamp) + INTERVAL 30 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `open_interest` (
    `timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `receipt_timestamp` DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    `exchange` LowCardinality(String),
    `symbol` LowCardinality(String),
    `open_interest` Float64 CODEC(ZSTD(3)),
    `value` Nullable(Float64) CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree(receipt_timestamp)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (symbol, timestamp, exchange)
TTL toDateTime(timestamp) + INTERVAL 90 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `index` (
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
ENGINE = ReplacingMergeTree(receipt_timestamp)
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (symbol, timestamp, exchange)
TTL toDateTime(timestamp) + INTERVAL 90 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `custom_candles` (
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
ENGINE = ReplacingMergeTree(receipt_timestamp)
PARTITION BY toYYYYMM(timestamp)
ORDER BY (symbol, timestamp, exchange, interval)
TTL toDateTime(timestamp) + INTERVAL 365 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `book_ticker` (
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
ENGINE = ReplacingMergeTree(receipt_timestamp)
PARTITION BY toYYYYMMDD(timestamp)
ORDER BY (symbol, timestamp, exchange, update_id)
TTL toDateTime(timestamp) + INTERVAL 1 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `instruments` (
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
ENGINE = ReplacingMergeTree(receipt_timestamp)
PARTITION BY tuple()
ORDER BY (symbol, timestamp, exchange)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `gap_detection_log` (
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
ENGINE = ReplacingMergeTree(receipt_timestamp)
PARTITION BY toYYYYMM(detection_time)
ORDER BY (symbol, detection_time, exchange, log_id)
TTL toDateTime(detection_time) + INTERVAL 30 DAY DELETE
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS `tape_cursors` (
    `writer` String,
    `table_name` LowCardinality(String),
    `batch` Int64,
    `position` String,
    `updated` DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(batch)
ORDER BY (writer, table_name);

CREATE VIEW IF NOT EXISTS `candles` AS
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
