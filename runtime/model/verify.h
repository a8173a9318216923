// SPDX-License-Identifier: Apache-2.0
// Structure of a model file, without knowing what its operators mean.
#ifndef NYB_MODEL_VERIFY_H
#define NYB_MODEL_VERIFY_H

#include "model/reader.h"

enum { NYB_FORMAT_VERSION = 0 };

// Sets every field of the model from its data; refuses what is not a model of this version or is larger than
// its bytes can be.
nyb_status nyb_structure_open(nyb_model *model, const void *data, size_t size, nyb_error *why);

// Tensors, ports, and for every operator: its tensors exist; what it reads was written and not overwritten
// since; what it writes overlaps none of its inputs. in_place(kind) tells which operators may write over an
// input.
nyb_status nyb_structure_check(const nyb_model *model, bool (*in_place)(uint32_t kind), nyb_error *why);

// The stored SHA-256 against that of the file with the stored one taken as zero.
nyb_status nyb_structure_hash(const nyb_model *model, nyb_error *why);

#endif
