CREATE TABLE "coercion" (
	"file_id" integer NOT NULL,
	"line" bigint NOT NULL,
	"column_name" text NOT NULL,
	"raw_text" text NOT NULL,
	CONSTRAINT "coercion_pkey" PRIMARY KEY("file_id","line","column_name")
);
--> statement-breakpoint
CREATE TABLE "context" (
	"context_key" integer NOT NULL,
	"status" text NOT NULL,
	"channel" text NOT NULL,
	"region" text NOT NULL,
	"merchant_tier" text NOT NULL,
	CONSTRAINT "context_pkey" PRIMARY KEY("context_key")
);
--> statement-breakpoint
CREATE TABLE "duplicate" (
	"event_id" uuid NOT NULL,
	"event_us" bigint NOT NULL,
	"amount_kobo" bigint NOT NULL,
	"file_id" integer NOT NULL,
	"merchant_key" integer NOT NULL,
	"kind_key" integer NOT NULL,
	"context_key" integer NOT NULL,
	"line" bigint NOT NULL,
	"is_conflict" boolean NOT NULL,
	CONSTRAINT "duplicate_pkey" PRIMARY KEY("file_id","line")
);
--> statement-breakpoint
CREATE TABLE "event" (
	"event_id" uuid NOT NULL,
	"event_us" bigint NOT NULL,
	"amount_kobo" bigint NOT NULL,
	"file_id" integer NOT NULL,
	"merchant_key" integer NOT NULL,
	"kind_key" integer NOT NULL,
	"context_key" integer NOT NULL,
	CONSTRAINT "event_pkey" PRIMARY KEY("event_id")
);
--> statement-breakpoint
CREATE TABLE "import_run" (
	"run_id" integer GENERATED ALWAYS AS IDENTITY (sequence name "import_run_run_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 2147483647 START WITH 1 CACHE 1),
	"started_at" timestamp with time zone NOT NULL,
	"finished_at" timestamp with time zone,
	"outcome" text,
	"program_version" text NOT NULL,
	CONSTRAINT "import_run_pkey" PRIMARY KEY("run_id"),
	CONSTRAINT "import_run_outcome_check" CHECK ("import_run"."outcome" IN ('done', 'failed', 'incomplete', 'interrupted'))
);
--> statement-breakpoint
CREATE TABLE "kind" (
	"kind_key" integer NOT NULL,
	"product" text NOT NULL,
	"event_type" text NOT NULL,
	CONSTRAINT "kind_pkey" PRIMARY KEY("kind_key")
);
--> statement-breakpoint
CREATE TABLE "ledger" (
	"file_id" integer GENERATED ALWAYS AS IDENTITY (sequence name "ledger_file_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 2147483647 START WITH 1 CACHE 1),
	"run_id" integer NOT NULL,
	"status" text NOT NULL,
	"path" text NOT NULL,
	"size_bytes" bigint NOT NULL,
	"mtime_ns" bigint,
	"sha256" "bytea",
	"rows_read" bigint NOT NULL,
	"accepted" bigint NOT NULL,
	"duplicate" bigint NOT NULL,
	"conflict" bigint NOT NULL,
	"rejected" bigint NOT NULL,
	"coerced" bigint NOT NULL,
	"rejected_by_reason" jsonb NOT NULL,
	"coerced_by_column" jsonb NOT NULL,
	"error" text,
	"started_at" timestamp with time zone NOT NULL,
	"finished_at" timestamp with time zone NOT NULL,
	"program_version" text NOT NULL,
	CONSTRAINT "ledger_pkey" PRIMARY KEY("file_id"),
	CONSTRAINT "ledger_status_check" CHECK ("ledger"."status" IN ('loaded', 'failed')),
	CONSTRAINT "ledger_rows_check" CHECK ("ledger"."status" <> 'loaded' OR "ledger"."rows_read" = "ledger"."accepted" + "ledger"."duplicate" + "ledger"."rejected")
);
--> statement-breakpoint
CREATE TABLE "merchant" (
	"merchant_key" integer NOT NULL,
	"merchant_id" text NOT NULL,
	CONSTRAINT "merchant_pkey" PRIMARY KEY("merchant_key")
);
--> statement-breakpoint
CREATE TABLE "merchant_month" (
	"merchant_key" integer NOT NULL,
	"month" date NOT NULL,
	"success_count" bigint NOT NULL,
	CONSTRAINT "merchant_month_pkey" PRIMARY KEY("month","merchant_key")
);
--> statement-breakpoint
CREATE TABLE "merchant_total" (
	"merchant_key" integer NOT NULL,
	"success_kobo" numeric NOT NULL,
	"success_count" bigint NOT NULL,
	"pos" bigint NOT NULL,
	"airtime" bigint NOT NULL,
	"bills" bigint NOT NULL,
	"card_payment" bigint NOT NULL,
	"savings" bigint NOT NULL,
	"moniebook" bigint NOT NULL,
	"kyc" bigint NOT NULL,
	"documents_submitted" bigint NOT NULL,
	"verifications_completed" bigint NOT NULL,
	"tier_upgrades" bigint NOT NULL,
	CONSTRAINT "merchant_total_pkey" PRIMARY KEY("merchant_key")
);
--> statement-breakpoint
CREATE TABLE "product_status" (
	"product" text NOT NULL,
	"status" text NOT NULL,
	"event_count" bigint NOT NULL,
	CONSTRAINT "product_status_pkey" PRIMARY KEY("product","status")
);
--> statement-breakpoint
CREATE TABLE "reject" (
	"file_id" integer NOT NULL,
	"line" bigint NOT NULL,
	"reason" text NOT NULL,
	"raw_text" text,
	"raw_bytes" "bytea",
	CONSTRAINT "reject_pkey" PRIMARY KEY("file_id","line"),
	CONSTRAINT "reject_raw_check" CHECK (("reject"."raw_text" IS NULL) <> ("reject"."raw_bytes" IS NULL))
);
--> statement-breakpoint
CREATE TABLE "snapshot" (
	"is_only_row" boolean DEFAULT true NOT NULL,
	"data_version" bigint NOT NULL,
	"published_at" timestamp with time zone NOT NULL,
	"answers" json NOT NULL,
	CONSTRAINT "snapshot_pkey" PRIMARY KEY("is_only_row"),
	CONSTRAINT "snapshot_only_row_check" CHECK ("snapshot"."is_only_row")
);
--> statement-breakpoint
CREATE UNIQUE INDEX "context_values_key" ON "context" USING btree ("status","channel","region","merchant_tier");--> statement-breakpoint
CREATE INDEX "duplicate_event_id_idx" ON "duplicate" USING btree ("event_id");--> statement-breakpoint
CREATE INDEX "event_file_id_idx" ON "event" USING brin ("file_id");--> statement-breakpoint
CREATE UNIQUE INDEX "kind_product_event_type_key" ON "kind" USING btree ("product","event_type");--> statement-breakpoint
CREATE UNIQUE INDEX "ledger_loaded_path_key" ON "ledger" USING btree ("path") WHERE "ledger"."status" = 'loaded';--> statement-breakpoint
CREATE UNIQUE INDEX "merchant_merchant_id_key" ON "merchant" USING btree ("merchant_id");--> statement-breakpoint
CREATE VIEW "public"."activity" AS (
  SELECT e.event_id,
         m.merchant_id,
         (timestamptz 'epoch' + event_us / 1000000 * interval '1 second' + event_us % 1000000 * interval '1 microsecond') AS event_timestamp,
         k.product,
         k.event_type,
         (e.amount_kobo::numeric / 100)::numeric(20, 2) AS amount,
         c.status,
         nullif(c.channel, '') AS channel,
         nullif(c.region, '') AS region,
         nullif(c.merchant_tier, '') AS merchant_tier,
         e.file_id
    FROM event e
    JOIN merchant m USING (merchant_key)
    JOIN kind k USING (kind_key)
    JOIN context c USING (context_key));