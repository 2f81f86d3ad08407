#include "configs/schema_writer.h"

#include <fmt/format.h>

namespace palimpsest {

namespace {

std::string format_texts(const std::vector<std::string>& items) {
  std::string text;
  for (const std::string& item : items) text += (text.empty() ? "" : ", ") + format_scalar(item, Text{});
  return fmt::format("[{}]", text);
}

class Writer final : public SchemaVisitor {
 public:
  std::string text;

 protected:
  void visit_field(std::string_view name, SchemaValue& value, std::string_view) override {
    line(fmt::format("{}: {}", name, value.format()));
  }
  void visit_section(std::string_view name, const Description& below, std::string_view) override {
    if (depth_ == 0 && !text.empty()) text += "\n";
    line(fmt::format("{}:", name));
    ++depth_;
    below(*this);
    --depth_;
  }
  void visit_list(std::string_view name, SchemaList& list, std::string_view) override {
    line(fmt::format("{}:{}", name, list.size() == 0 ? " []" : ""));
    depth_ += 2;
    for (std::size_t i = 0; i < list.size(); ++i) {
      item_starts_ = true;
      list.describe_item(i, *this);
    }
    depth_ -= 2;
  }
  void visit_texts(std::string_view name, std::vector<std::string>& items, std::string_view) override {
    line(fmt::format("{}: {}", name, format_texts(items)));
  }

 private:
  void line(const std::string& content) {
    std::string indentation(2 * depth_, ' ');
    if (item_starts_) indentation.replace(indentation.size() - 2, 1, "-");
    item_starts_ = false;
    text += indentation + content + "\n";
  }

  std::size_t depth_ = 0;
  bool item_starts_ = false;
};

class Values final : public SchemaVisitor {
 public:
  std::vector<NamedValue> values;

 protected:
  void visit_field(std::string_view name, SchemaValue& value, std::string_view) override {
    values.push_back({path_ + std::string(name), value.format()});
  }
  void visit_section(std::string_view name, const Description& below, std::string_view) override {
    within(fmt::format("{}.", name), below);
  }
  void visit_list(std::string_view name, SchemaList& list, std::string_view) override {
    for (std::size_t i = 0; i < list.size(); ++i) {
      within(fmt::format("{}[{}].", name, i), [&](SchemaVisitor& visitor) { list.describe_item(i, visitor); });
    }
  }
  void visit_texts(std::string_view name, std::vector<std::string>& items, std::string_view) override {
    values.push_back({path_ + std::string(name), format_texts(items)});
  }

 private:
  void within(const std::string& name, const Description& below) {
    const std::size_t outer = path_.size();
    path_ += name;
    below(*this);
    path_.resize(outer);
  }

  std::string path_;
};

}  // namespace

std::string write_schema(const Description& describe_root) {
  Writer writer;
  describe_root(writer);
  return std::move(writer.text);
}

std::vector<NamedValue> schema_values(const Description& describe_root) {
  Values values;
  describe_root(values);
  return std::move(values.values);
}

}  // namespace palimpsest
