// The report of `galley bench overload` as a page: figures and plots in one file, no scripts.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <map>

#include "cli/overload_report.h"

namespace galley::cli {
namespace {

constexpr double kWidth = 560, kHeight = 260, kLeft = 60, kBottom = 40, kTop = 30, kRight = 20;

std::string number(double value, int digits = 1) {
  char text[64];
  std::snprintf(text, sizeof(text), "%.*f", digits, value);
  return text;
}

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  // load, value
};

// Lines over the load, on a logarithmic axis.
std::string plot(const std::string& title, const std::vector<Series>& all) {
  static constexpr const char* kColours[] = {"#1769aa", "#c2410c", "#15803d", "#7e22ce"};
  double lowest = 1e300, highest = 0, top = 0;
  for (const Series& series : all) {
    for (const auto& [load, value] : series.points) {
      lowest = std::min(lowest, load);
      highest = std::max(highest, load);
      top = std::max(top, value);
    }
  }
  if (highest <= 0 || top <= 0) return "";
  if (highest == lowest) highest = lowest * 1.01;
  const auto x = [&](double load) {
    return kLeft + (kWidth - kLeft - kRight) * std::log(load / lowest) / std::log(highest / lowest);
  };
  const auto y = [&](double value) {
    return kHeight - kBottom - (kHeight - kBottom - kTop) * value / (top * 1.1);
  };
  std::string out = "<svg viewBox=\"0 0 " + number(kWidth, 0) + " " + number(kHeight, 0) +
                    "\" role=\"img\"><title>" + escaped(title) + "</title><text x=\"" +
                    number(kLeft) + "\" y=\"18\" class=\"t\">" + escaped(title) + "</text>";
  for (int i = 0; i <= 4; ++i) {
    const double value = top * 1.1 * i / 4;
    out += "<line class=\"g\" x1=\"" + number(kLeft) + "\" x2=\"" + number(kWidth - kRight) +
           "\" y1=\"" + number(y(value)) + "\" y2=\"" + number(y(value)) +
           "\"/><text class=\"e\" x=\"" + number(kLeft - 6) + "\" y=\"" + number(y(value) + 4) +
           "\">" + number(value, top < 10 ? 1 : 0) + "</text>";
  }
  size_t index = 0;
  for (const Series& series : all) {
    const std::string colour = kColours[index % std::size(kColours)];
    std::string path;
    for (const auto& [load, value] : series.points) {
      path += (path.empty() ? "M" : " L") + number(x(load)) + " " + number(y(value));
      out += "<circle r=\"3\" fill=\"" + colour + "\" cx=\"" + number(x(load)) + "\" cy=\"" +
             number(y(value)) + "\"/><text class=\"m\" x=\"" + number(x(load)) + "\" y=\"" +
             number(kHeight - kBottom + 16) + "\">" + number(load) + "x</text>";
    }
    out += "<path fill=\"none\" stroke=\"" + colour + "\" stroke-width=\"2\" d=\"" + path +
           "\"/><text x=\"" + number(kLeft + 10 + 90.0 * static_cast<double>(index)) + "\" y=\"" +
           number(kHeight - 6) + "\" fill=\"" + colour + "\">" + escaped(series.name) + "</text>";
    ++index;
  }
  return out + "</svg>\n";
}

std::string plot_sweep(const OverloadReport& report, const std::string& title,
                       const std::function<double(const LegReport&)>& value) {
  std::map<std::string, Series> by_policy;
  for (const LegReport& leg : report.legs) {
    if (leg.name != "sweep") continue;
    Series& series = by_policy[leg.policy];
    series.name = leg.policy;
    series.points.emplace_back(leg.load, value(leg));
  }
  std::vector<Series> all;
  for (auto& [policy, series] : by_policy) {
    std::sort(series.points.begin(), series.points.end());
    all.push_back(std::move(series));
  }
  return plot(title, all);
}

}  // namespace

std::string to_html(const OverloadReport& report) {
  std::string out =
      "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Galley under "
      "overload</title>"
      "<style>body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:76em;padding:0 1em}"
      "svg{width:36em;max-width:100%;border:1px solid #ddd;margin:.5em}text{font-size:12px}"
      ".t{font-weight:600;font-size:14px}.e{text-anchor:end}.m{text-anchor:middle}.g{stroke:#"
      "e5e5e5}"
      "td,th{padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd}"
      "td:first-child,th:first-child{text-align:left}table{border-collapse:collapse}</style>"
      "<h1>Galley under overload</h1><p>" +
      escaped(report.model) + " on " + escaped(report.machine) + ". Capacity " +
      number(report.capacity_requests_per_s) + " requests/s, " +
      number(report.capacity_cost_per_s, 0) + " token cost/s. Clients wait at most " +
      number(static_cast<double>(report.patience_ms) / 1000) + " s for the whole answer.</p>";
  out += plot_sweep(report, "goodput, % of capacity",
                    [](const LegReport& leg) { return leg.good_share * 100; });
  out += plot_sweep(report, "median time to first token of good answers, ms",
                    [](const LegReport& leg) { return leg.groups.front().ttft_ms.p50; });
  out += plot_sweep(report, "work wasted, %",
                    [](const LegReport& leg) { return leg.wasted_share * 100; });
  out +=
      "<table><tr><th>leg</th><th>policy</th><th>load</th><th>goodput</th><th>wasted</th>"
      "<th>clients</th><th>requests</th><th>good</th><th>refused</th><th>late</th><th>failed</th>"
      "<th>TTFT p50</th><th>p99 ms</th></tr>\n";
  for (const LegReport& leg : report.legs) {
    for (const GroupReport& group : leg.groups) {
      out += "<tr><td>" + escaped(leg.name) + "</td><td>" + escaped(leg.policy) + "</td><td>" +
             number(leg.load) + "x</td><td>" + number(leg.good_share * 100, 0) + " %</td><td>" +
             number(leg.wasted_share * 100, 0) + " %</td><td>" + escaped(group.name) + "</td><td>" +
             std::to_string(group.requests) + "</td><td>" + std::to_string(group.good) +
             "</td><td>" + std::to_string(group.refused) + "</td><td>" +
             std::to_string(group.late) + "</td><td>" + std::to_string(group.failed) + "</td><td>" +
             number(group.ttft_ms.p50, 0) + "</td><td>" + number(group.ttft_ms.p99, 0) +
             "</td></tr>\n";
    }
  }
  return out + "</table></html>\n";
}

}  // namespace galley::cli
