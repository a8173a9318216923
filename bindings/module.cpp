// SPDX-License-Identifier: Apache-2.0
// Python bindings over nybble.h and the platform: buffers, errors, the GIL. No logic.
#include "base/cpu.h"
#include "nybble.h"
#include "platform/platform.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace py = pybind11;

namespace {

struct ModelFault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Names come from the file, which may hold any bytes.
py::str text(const char *data, uint32_t length) {
    PyObject *decoded = PyUnicode_DecodeUTF8(data == nullptr ? "" : data, length, "replace");
    return py::reinterpret_steal<py::str>(decoded);
}

std::string message(const nyb_error &why) {
    std::ostringstream out;
    out << "expected " << why.what;
    if (why.expected != why.found) {
        out << " (expected " << why.expected << ", found " << why.found << ")";
    }
    if (why.op >= 0) {
        out << ", operator " << why.op;
    }
    if (why.tensor >= 0) {
        out << ", tensor " << why.tensor;
    }
    return out.str();
}

void require(nyb_status status, const nyb_error &why) {
    if (status == NYB_OK) {
        return;
    }
    if (status == NYB_ERROR_ARGUMENT || status == NYB_ERROR_ARENA) {
        throw std::invalid_argument(message(why));
    }
    throw ModelFault(message(why));
}

struct MemoryFree {
    void operator()(void *memory) const { nyb_memory_free(memory); }
};
using Memory = std::unique_ptr<uint8_t, MemoryFree>;

Memory allocate(size_t bytes) {
    Memory memory(static_cast<uint8_t *>(nyb_memory(bytes)));
    if (!memory) {
        throw std::bad_alloc();
    }
    return memory;
}

// A model file in memory, mapped or copied.
class Model {
  public:
    static std::shared_ptr<Model> from_path(const std::string &path) {
        auto model = std::shared_ptr<Model>(new Model);
        if (!nyb_file_map(&model->file_, path.c_str())) {
            PyErr_SetFromErrnoWithFilename(PyExc_OSError, path.c_str());
            throw py::error_already_set();
        }
        model->open(model->file_.data, model->file_.size);
        return model;
    }

    static std::shared_ptr<Model> from_bytes(const py::bytes &data) {
        char *source = nullptr;
        Py_ssize_t size = 0;
        PyBytes_AsStringAndSize(data.ptr(), &source, &size);
        auto model = std::shared_ptr<Model>(new Model);
        model->copy_ = allocate(static_cast<size_t>(size));
        std::memcpy(model->copy_.get(), source, static_cast<size_t>(size));
        model->open(model->copy_.get(), static_cast<size_t>(size));
        return model;
    }

    ~Model() { nyb_file_unmap(&file_); }
    Model(const Model &) = delete;
    Model &operator=(const Model &) = delete;

    const nyb_model *get() const { return &model_; }
    bool has_golden() const { return nyb_has_golden(&model_); }
    py::bytes bytes() const { return py::bytes(reinterpret_cast<const char *>(model_.data), model_.size); }

    void verify(uint32_t cpu, bool prepack) const {
        const nyb_options options = {cpu, nullptr, prepack};
        const size_t size = nyb_session_bytes(&model_, &options);
        const Memory arena = allocate(size);
        nyb_error why;
        nyb_status status;
        {
            py::gil_scoped_release release;
            status = nyb_model_verify(&model_, &options, arena.get(), size, &why);
        }
        require(status, why);
    }

  private:
    Model() : file_{nullptr, 0} {}

    void open(const void *data, size_t size) {
        nyb_error why;
        require(nyb_model_open(&model_, data, size, &why), why);
    }

    nyb_file file_;
    Memory copy_;
    nyb_model model_;
};

const char *type_name(nyb_type type) {
    static const char *const names[] = {"int8", "uint8", "int16", "int32", "int64", "int8", "int8", "bool"};
    return names[type];
}

py::array view(const nyb_tensor &tensor, py::handle owner) {
    std::vector<py::ssize_t> shape(tensor.shape, tensor.shape + tensor.rank);
    return py::array(py::dtype(type_name(tensor.type)), shape, tensor.data, owner);
}

py::dict describe(const nyb_tensor &tensor) {
    py::dict result;
    result["name"] = text(tensor.name, tensor.name_length);
    result["shape"] = py::tuple(py::cast(std::vector<uint32_t>(tensor.shape, tensor.shape + tensor.rank)));
    result["dtype"] = type_name(tensor.type);
    result["scale"] = tensor.scale;
    result["zero_point"] = tensor.zero_point;
    result["real"] = tensor.real;
    result["bytes"] = tensor.bytes;
    return result;
}

class Session {
  public:
    Session(std::shared_ptr<Model> model, uint32_t cpu, uint32_t threads, bool prepack)
        : model_(std::move(model)), pool_(nullptr, nyb_pool_destroy) {
        if (threads > 1) {
            pool_.reset(nyb_pool_create(threads));
            if (!pool_) {
                throw std::runtime_error("cannot start " + std::to_string(threads) + " threads");
            }
        }
        const nyb_options options = {cpu, pool_.get(), prepack};
        arena_bytes_ = nyb_session_bytes(model_->get(), &options);
        arena_ = allocate(arena_bytes_);
        nyb_error why;
        require(nyb_session_init(&session_, model_->get(), &options, arena_.get(), arena_bytes_, &why), why);
    }

    void invoke() {
        py::gil_scoped_release release;
        const std::lock_guard<std::mutex> lock(busy_);
        nyb_invoke(&session_);
    }

    // inputs: one C-contiguous array per input, `count` samples of the input's bytes each.
    std::vector<py::array> run(const std::vector<py::array> &inputs, size_t count) {
        const nyb_model *model = model_->get();
        if (inputs.size() != model->inputs) {
            throw std::invalid_argument("expected " + std::to_string(model->inputs) + " inputs, found " +
                                        std::to_string(inputs.size()));
        }
        std::vector<const uint8_t *> sources;
        std::vector<nyb_tensor> targets;
        for (size_t i = 0; i < inputs.size(); i++) {
            targets.push_back(nyb_input(&session_, i));
            if (static_cast<size_t>(inputs[i].nbytes()) != count * targets[i].bytes ||
                !(inputs[i].flags() & py::array::c_style)) {
                throw std::invalid_argument("expected contiguous samples of " +
                                            std::to_string(targets[i].bytes) + " bytes");
            }
            sources.push_back(static_cast<const uint8_t *>(inputs[i].data()));
        }
        std::vector<py::array> results;
        std::vector<uint8_t *> destinations;
        std::vector<nyb_tensor> outputs;
        for (uint32_t j = 0; j < model->outputs; j++) {
            outputs.push_back(nyb_output(&session_, j));
            std::vector<py::ssize_t> shape{static_cast<py::ssize_t>(count)};
            shape.insert(shape.end(), outputs[j].shape, outputs[j].shape + outputs[j].rank);
            results.emplace_back(py::dtype(type_name(outputs[j].type)), shape);
            destinations.push_back(static_cast<uint8_t *>(results[j].mutable_data()));
        }
        {
            py::gil_scoped_release release;
            const std::lock_guard<std::mutex> lock(busy_);
            for (size_t n = 0; n < count; n++) {
                for (size_t i = 0; i < targets.size(); i++) {
                    std::memcpy(targets[i].data, sources[i] + n * targets[i].bytes, targets[i].bytes);
                }
                nyb_invoke(&session_);
                for (size_t j = 0; j < outputs.size(); j++) {
                    std::memcpy(destinations[j] + n * outputs[j].bytes, outputs[j].data, outputs[j].bytes);
                }
            }
        }
        return results;
    }

    // Runs operator by operator; returns nanoseconds of each, and copies of the outputs of the wanted ones.
    // replaced: bytes by operator that overwrite its output before the next one runs.
    py::tuple run_steps(const std::vector<uint32_t> &wanted, const std::map<uint32_t, py::array> &replaced) {
        const uint32_t count = model_->get()->operators;
        std::vector<uint64_t> times(count);
        std::vector<std::vector<uint8_t>> copies(wanted.size());
        std::vector<const void *> overwrites(count, nullptr);
        for (const auto &[op, bytes] : replaced) {
            if (op >= count || static_cast<size_t>(bytes.nbytes()) != nyb_op_output(&session_, op, 0).bytes ||
                !(bytes.flags() & py::array::c_style)) {
                throw std::invalid_argument("expected the contiguous bytes of an operator's output");
            }
            overwrites[op] = bytes.data();
        }
        {
            py::gil_scoped_release release;
            const std::lock_guard<std::mutex> lock(busy_);
            for (uint32_t op = 0; op < count; op++) {
                const uint64_t start = nyb_clock_ns();
                nyb_invoke_step(&session_, op);
                times[op] = nyb_clock_ns() - start;
                if (overwrites[op] != nullptr) {
                    const nyb_tensor output = nyb_op_output(&session_, op, 0);
                    std::memcpy(output.data, overwrites[op], output.bytes);
                }
                for (size_t i = 0; i < wanted.size(); i++) {
                    if (wanted[i] == op) {
                        const nyb_tensor output = nyb_op_output(&session_, op, 0);
                        const uint8_t *data = static_cast<const uint8_t *>(output.data);
                        copies[i].assign(data, data + output.bytes);
                    }
                }
            }
        }
        py::list arrays;
        for (size_t i = 0; i < wanted.size(); i++) {
            nyb_tensor output = nyb_op_output(&session_, wanted[i], 0);
            output.data = copies[i].data();
            arrays.append(view(output, py::handle()));
        }
        return py::make_tuple(times, arrays);
    }

    py::list operators() const {
        py::list result;
        for (uint32_t op = 0; op < model_->get()->operators; op++) {
            const nyb_op_info info = nyb_describe(&session_, op);
            py::dict entry;
            entry["kind"] = info.kind;
            entry["variant"] = info.variant;
            entry["name"] = text(info.name, info.name_length);
            entry["macs"] = info.macs;
            entry["weight_bytes"] = info.weight_bytes;
            entry["weight_bits"] = info.weight_bits;
            py::list inputs;
            for (uint32_t i = 0; i < info.inputs; i++) {
                inputs.append(describe(nyb_op_input(&session_, op, i)));
            }
            entry["inputs"] = inputs;
            entry["output"] = describe(nyb_op_output(&session_, op, 0));
            result.append(entry);
        }
        return result;
    }

    py::list ports(bool inputs) const {
        py::list result;
        const uint32_t count = inputs ? model_->get()->inputs : model_->get()->outputs;
        for (uint32_t i = 0; i < count; i++) {
            result.append(describe(inputs ? nyb_input(&session_, i) : nyb_output(&session_, i)));
        }
        return result;
    }

    static py::array port_view(py::object self, bool inputs, size_t i) {
        const Session &session = self.cast<const Session &>();
        const uint32_t count = inputs ? session.model_->get()->inputs : session.model_->get()->outputs;
        if (i >= count) {
            throw py::index_error("expected an index below " + std::to_string(count));
        }
        return view(inputs ? nyb_input(&session.session_, i) : nyb_output(&session.session_, i), self);
    }

    size_t arena_bytes() const { return arena_bytes_; }
    uint64_t activation_bytes() const { return model_->get()->arena_bytes; }

  private:
    std::shared_ptr<Model> model_;
    std::unique_ptr<nyb_parallel, void (*)(nyb_parallel *)> pool_;
    size_t arena_bytes_ = 0;
    Memory arena_;
    nyb_session session_;
    std::mutex busy_;
};

std::vector<std::string> cpu_names() {
    std::vector<std::string> names;
    for (const nyb_cpu_feature *f = nyb_cpu_features; f->name != nullptr; f++) {
        names.emplace_back(f->name);
    }
    return names;
}

uint32_t parse_cpu(const std::string &name) {
    uint32_t cpu = 0;
    if (!nyb_cpu_parse(name.c_str(), &cpu)) {
        throw std::invalid_argument("expected a CPU level that this machine has, found '" + name + "'");
    }
    return cpu;
}

} // namespace

PYBIND11_MODULE(_core, m) {
    py::register_exception<ModelFault>(m, "ModelFault", PyExc_ValueError);
    m.def("cpu_names", &cpu_names);
    m.def("cpu_detect", [] {
        static const uint32_t cpu = nyb_cpu_detect(); // dear in virtual machines
        return cpu;
    });
    m.def("cpu_parse", &parse_cpu);
    m.def("resident_bytes", &nyb_resident_bytes);
    m.def("session_bytes", [](const Model &model, uint32_t cpu, uint32_t threads) {
        const nyb_parallel parallel = {nullptr, nullptr, threads, NYB_HANDOVER_NS};
        const nyb_options options = {cpu, &parallel, false};
        return nyb_session_bytes(model.get(), &options);
    });
    py::class_<Model, std::shared_ptr<Model>>(m, "Model")
        .def_static("from_path", &Model::from_path)
        .def_static("from_bytes", &Model::from_bytes)
        .def("bytes", &Model::bytes)
        .def("has_golden", &Model::has_golden)
        .def("verify", &Model::verify);
    py::class_<Session>(m, "Session")
        .def(py::init<std::shared_ptr<Model>, uint32_t, uint32_t, bool>())
        .def("invoke", &Session::invoke)
        .def("run", &Session::run)
        .def("run_steps", &Session::run_steps, py::arg("wanted"),
             py::arg("replaced") = std::map<uint32_t, py::array>())
        .def("operators", &Session::operators)
        .def("inputs", [](const Session &s) { return s.ports(true); })
        .def("outputs", [](const Session &s) { return s.ports(false); })
        .def("input_view", [](py::object self, size_t i) { return Session::port_view(self, true, i); })
        .def("output_view", [](py::object self, size_t i) { return Session::port_view(self, false, i); })
        .def_property_readonly("arena_bytes", &Session::arena_bytes)
        .def_property_readonly("activation_bytes", &Session::activation_bytes);
}
