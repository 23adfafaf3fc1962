// The layout of a block of rows, as src/import/encode.ts has it: ROWS_PER_BLOCK, and the offsets that follow from LAYOUT.

export const ROWS_PER_BLOCK: i32 = 4096;
export const ROW_BYTES: i32 = 78;
export const EVENT_ID: usize = 6;
export const EVENT_US: usize = 26;
export const AMOUNT_KOBO: usize = 38;
export const MERCHANT_KEY: usize = 58;
export const KIND_KEY: usize = 66;
export const CONTEXT_KEY: usize = 74;
