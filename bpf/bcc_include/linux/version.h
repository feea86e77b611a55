/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* LINUX_VERSION_CODE comes from the loader, which asks the running kernel. */
#define KERNEL_VERSION(major, minor, patch) (((major) << 16) + ((minor) << 8) + (patch))
