"""The tables of the jobs' store, in SQL that SQLite and PostgreSQL both speak.

Knows names, types and keys. Must not know connections, rules or the clock: every `_ms` column is epoch milliseconds
handed in. Money is an integer count of the currency's smallest unit, next to its ISO 4217 code.
"""

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text

# Raised with every change of a table; a store of a newer version is refused, never guessed at.
VERSION = 1

metadata = MetaData()

# One row. Also the lock that sealing takes on PostgreSQL (SQLite has one writer at a time anyway).
store_version = Table("jobs_store", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

organisations = Table(
    "organisations",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

# A donation never changes once written, except that sealing gives it its place in a checkpoint.
donations = Table(
    "donations",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("organisation_id", ForeignKey("organisations.id"), nullable=False),
    Column("donor", String(200), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("donated_ms", BigInteger, nullable=False),
    Column("recorded_ms", BigInteger, nullable=False),
    Column("checkpoint_number", Integer),
    Column("leaf_index", Integer),
    Index("donations_of_an_organisation", "organisation_id", "donated_ms"),
    Index("donations_by_leaf", "checkpoint_number", "leaf_index", unique=True),
)

payments = Table(
    "payments",
    metadata,
    Column("id", String(80), primary_key=True),
    Column("donation_id", ForeignKey("donations.id"), nullable=False, unique=True),
    Column("status", String(16), nullable=False),  # pledged, settled
    Column("pledged_ms", BigInteger, nullable=False),
    Column("settled_ms", BigInteger),
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("previous_hash", String(64), nullable=False),
    Column("merkle_root", String(64), nullable=False),
    Column("leaf_count", Integer, nullable=False),
    Column("first_donation_id", String(64), nullable=False),
    Column("last_donation_id", String(64), nullable=False),
    Column("sealed_ms", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False, unique=True),
)

endpoints = Table(
    "endpoints",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("organisation_id", ForeignKey("organisations.id"), nullable=False, index=True),
    Column("url", Text, nullable=False),
    Column("secrets", Text, nullable=False),  # whsec_ secrets parted by spaces, the newest first
    Column("allow_private", Boolean, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)

# One event on its way to one endpoint. The body is kept, so that every retry sends the same bytes.
deliveries = Table(
    "deliveries",
    metadata,
    Column("endpoint_id", ForeignKey("endpoints.id"), primary_key=True),
    Column("event_id", String(128), primary_key=True),
    Column("event_type", String(128), nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(16), nullable=False),  # pending, delivered, failed
    Column("attempts", Integer, nullable=False),
    Column("due_ms", BigInteger, nullable=False),  # the next attempt goes out at this moment, not before
    Column("leased_until_ms", BigInteger, nullable=False),  # a worker is sending until then
    Column("sweep_ms", BigInteger, nullable=False),  # from this moment on the sweep queues a job for it
    Column("created_ms", BigInteger, nullable=False),
    Column("finished_ms", BigInteger),
    Index("deliveries_to_sweep", "state", "sweep_ms"),
    Index("deliveries_by_end", "finished_ms"),
)

# Written before the request leaves and completed after it: an attempt whose worker died has no outcome.
attempts = Table(
    "attempts",
    metadata,
    Column("endpoint_id", String(64), primary_key=True),
    Column("event_id", String(128), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("duration_ms", Integer),
    Column("status", Integer),  # the HTTP status, where one arrived
    Column("outcome", String(64)),
    Column("answer", Text),  # the start of the receiver's answer, escaped
)

reports = Table(
    "reports",
    metadata,
    Column("organisation_id", ForeignKey("organisations.id"), primary_key=True),
    Column("period", String(7), primary_key=True),  # YYYY-MM, UTC
    Column("donation_count", Integer, nullable=False),
    Column("csv_sha256", String(64), nullable=False),
    Column("html_sha256", String(64), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
)
