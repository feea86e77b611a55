/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* BCC sizes ring buffers in pages; PAGE_SIZE comes from the loader. */
