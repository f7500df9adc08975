-- PostgreSQL 14 or later. Partitions are made as rows for them come.
-- Generated from archive/tape_archive/tables/schema.py: python -m tape_archive.tables.ddl config/sql

CREATE TABLE IF NOT EXISTS "trades" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "side" text COLLATE "C" NOT NULL,
    "amount" double precision NOT NULL,
    "price" double precision NOT NULL,
    "trade_id" bigint NOT NULL,
    "first_id" bigint,
    "last_id" bigint,
    PRIMARY KEY (symbol, timestamp, exchange, trade_id)
) PARTITION BY RANGE (timestamp);

CREATE TABLE IF NOT EXISTS "candles_1m" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "open" double precision NOT NULL,
    "high" double precision NOT NULL,
    "low" double precision NOT NULL,
    "close" double precision NOT NULL,
    "volume" double precision NOT NULL,
    "quote_volume" double precision,
    "trades" bigint,
    "taker_volume" double precision,
    "taker_quote_volume" double precision,
    PRIMARY KEY (symbol, timestamp, exchange)
) PARTITION BY RANGE (timestamp);

CREATE TABLE IF NOT EXISTS "candles_5m" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "open" double precision NOT NULL,
    "high" double precision NOT NULL,
    "low" double precision NOT NULL,
    "close" double precision NOT NULL,
    "volume" double precision NOT NULL,
    "quote_volume" double precision,
    "trades" bigint,
    "taker_volume" double precision,
    "taker_quote_volume" double precision,
    PRIMARY KEY (symbol, timestamp, exchange)
) PARTITION BY RANGE (timestamp);

CREATE TABLE IF NOT EXISTS "candles_30m" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "open" double precision NOT NULL,
    "high" double precision NOT NULL,
    "low" double precision NOT NULL,
    "close" double precision NOT NULL,
    "volume" double precision NOT NULL,
    "quote_volume" double precision,
    "trades" bigint,
    "taker_volume" double precision,
    "taker_quote_volume" double precision,
    PRIMARY KEY (symbol, timestamp, exchange)
) PARTITION BY RANGE (timestamp);

CREATE TABLE IF NOT EXISTS "candles_4h" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "open" double precision NOT NULL,
    "high" double precision NOT NULL,
    "low" double precision NOT NULL,
    "close" double precision NOT NULL,
    "volume" double precision NOT NULL,
    "quote_volume" double precision,
    "trades" bigint,
    "taker_volume" double precision,
    "taker_quote_volume" double precision,
    PRIMARY KEY (symbol, timestamp, exchange)
) PARTITION BY RANGE (timestamp);

CREATE TABLE IF NOT EXISTS "candles_1d" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "open" double precision NOT NULL,
    "high" double precision NOT NULL,
    "low" double precision NOT NULL,
    "close" double precision NOT NULL,
    "volume" double precision NOT NULL,
    "quote_volume" double precision,
    "trades" bigint,
    "taker_volume" double precision,
    "taker_quote_volume" double precision,
    PRIMARY KEY (symbol, timestamp, exchange)
) PARTITION BY RANGE (timestamp);

CREATE TABLE IF NOT EXISTS "ticker" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "last" double precision NOT NULL,
    "open" double precision NOT NULL,
    "high" double precision NOT NULL,
    "low" double precision NOT NULL,
    "volume" double precision NOT NULL,
    "quote_volume" double precision,
    "trades" bigint,
    "last_id" bigint,
    PRIMARY KEY (symbol, timestamp, exchange)
) PARTITION BY RANGE (timestamp);

CREATE TABLE IF NOT EXISTS "funding" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "rate" double precision NOT NULL,
    "mark_price" double precision,
    "next_funding_time" timestamptz,
    "predicted_rate" double precision,
    PRIMARY KEY (symbol, timestamp, exchange)
) PARTITION BY RANGE (timestamp);

CREATE TABLE IF NOT EXISTS "l2_book" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "first_update_id" bigint NOT NULL,
    "last_update_id" bigint NOT NULL,
    "previous_update_id" bigint,
    "snapshot" boolean NOT NULL,
    "bid_prices" double precision[] NOT NULL,
    "bid_amounts" double precision[] NOT NULL,
    "ask_prices" double precision[] NOT NULL,
    "ask_amounts" double precision[] NOT NULL,
    PRIMARY KEY (symbol, timestamp, exchange, last_update_id)
) PARTITION BY RANGE (timestamp);

CREATE TABLE IF NOT EXISTS "liquidations" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "side" text COLLATE "C" NOT NULL,
    "quantity" double precision NOT NULL,
    "price" double precision NOT NULL,
    "average_price" double precision,
    "filled" double precision,
    "status" text COLLATE "C",
    "liquidation_id" text COLLATE "C" NOT NULL,
    PRIMARY KEY (symbol, timestamp, exchange, liquidation_id)
) PARTITION BY RANGE (timestamp);

CREATE TABLE IF NOT EXISTS "open_interest" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "open_interest" double precision NOT NULL,
    "value" double precision,
    PRIMARY KEY (symbol, timestamp, exchange)
) PARTITION BY RANGE (timestamp);

CREATE TABLE IF NOT EXISTS "index" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "index_price" double precision NOT NULL,
    "mark_price" double precision,
    "settle_price" double precision,
    "funding_rate" double precision,
    "next_funding_time" timestamptz,
    PRIMARY KEY (symbol, timestamp, exchange)
) PARTITION BY RANGE (timestamp);

CREATE TABLE IF NOT EXISTS "custom_candles" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "interval" text COLLATE "C" NOT NULL,
    "open" double precision NOT NULL,
    "high" double precision NOT NULL,
    "low" double precision NOT NULL,
    "close" double precision NOT NULL,
    "volume" double precision NOT NULL,
    "quote_volume" double precision,
    "trades" bigint,
    "taker_volume" double precision,
    "taker_quote_volume" double precision,
    PRIMARY KEY (symbol, timestamp, exchange, interval)
) PARTITION BY RANGE (timestamp);

CREATE TABLE IF NOT EXISTS "book_ticker" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "update_id" bigint NOT NULL,
    "bid" double precision NOT NULL,
    "bid_amount" double precision NOT NULL,
    "ask" double precision NOT NULL,
    "ask_amount" double precision NOT NULL,
    PRIMARY KEY (symbol, timestamp, exchange, update_id)
) PARTITION BY RANGE (timestamp);

CREATE TABLE IF NOT EXISTS "instruments" (
    "timestamp" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "native" text COLLATE "C" NOT NULL,
    "status" text COLLATE "C" NOT NULL,
    "base" text COLLATE "C" NOT NULL,
    "quote" text COLLATE "C" NOT NULL,
    "multiplier" double precision NOT NULL,
    "tick_size" double precision,
    "lot_size" double precision,
    "first_seen" timestamptz NOT NULL,
    "last_seen" timestamptz NOT NULL,
    "listed" timestamptz,
    "delisted" timestamptz,
    "previous" text COLLATE "C",
    PRIMARY KEY (symbol, timestamp, exchange)
);

CREATE TABLE IF NOT EXISTS "gap_detection_log" (
    "detection_time" timestamptz NOT NULL,
    "receipt_timestamp" timestamptz NOT NULL,
    "exchange" text COLLATE "C" NOT NULL,
    "symbol" text COLLATE "C" NOT NULL,
    "log_id" bigint NOT NULL,
    "data_type" text COLLATE "C" NOT NULL,
    "interval" text COLLATE "C" NOT NULL,
    "gap_start" timestamptz NOT NULL,
    "gap_end" timestamptz NOT NULL,
    "gap_type" text COLLATE "C" NOT NULL,
    "priority" bigint NOT NULL,
    "status" text COLLATE "C" NOT NULL,
    "records_expected" bigint NOT NULL,
    "records_filled" bigint NOT NULL,
    "fill_start_time" timestamptz,
    "fill_complete_time" timestamptz,
    "error_message" text COLLATE "C",
    "retry_count" bigint NOT NULL,
    PRIMARY KEY (symbol, detection_time, exchange, log_id)
) PARTITION BY RANGE (detection_time);

CREATE TABLE IF NOT EXISTS tape_cursors (
    writer text COLLATE "C" NOT NULL,
    table_name text COLLATE "C" NOT NULL,
    batch bigint NOT NULL,
    position text NOT NULL,
    updated timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (writer, table_name)
);

CREATE OR REPLACE VIEW candles AS
SELECT symbol, '1m' AS interval, timestamp, receipt_timestamp, exchange, open, high, low, close, volume, quote_volume, trades, taker_volume, taker_quote_volume FROM candles_1m
UNION ALL
SELECT symbol, '5m' AS interval, timestamp, receipt_timestamp, exchange, open, high, low, close, volume, quote_volume, trades, taker_volume, taker_quote_volume FROM candles_5m
UNION ALL
SELECT symbol, '30m' AS interval, timestamp, receipt_timestamp, exchange, open, high, low, close, volume, quote_volume, trades, taker_volume, taker_quote_volume FROM candles_30m
UNION ALL
SELECT symbol, '4h' AS interval, timestamp, receipt_timestamp, exchange, open, high, low, close, volume, quote_volume, trades, taker_volume, taker_quote_volume FROM candles_4h
UNION ALL
SELECT symbol, '1d' AS interval, timestamp, receipt_timestamp, exchange, open, high, low, close, volume, quote_volume, trades, taker_volume, taker_quote_volume FROM candles_1d
UNION ALL
SELECT symbol, interval, timestamp, receipt_timestamp, exchange, open, high, low, close, volume, quote_volume, trades, taker_volume, taker_quote_volume FROM custom_candles;
