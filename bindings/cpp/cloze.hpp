/* cloze.hpp - the C interface of cloze for C++17: owners, views, exceptions.
 *
 *     #include <cloze.hpp>
 *     #include <iostream>
 *
 *     int main() try {
 *         cloze::Model model("bert-base-uncased");
 *         for (const cloze::Candidate &word : model.fill("Paris is the [MASK] of France."))
 *             std::cout << model.token_text(word.id) << ' ' << word.probability << '\n';
 *     } catch (const cloze::Error &error) {
 *         std::cerr << error.what() << '\n';
 *         return 1;
 *     }
 *
 * Header only, above <cloze.h>, which stays the manual: what is said there of threads, files, defaults and callbacks
 * holds here.
 *
 * Owners       Model, Trainer, Dataset, Corpus and Cancel own what they open: they can be moved, not copied, and end it
 *              when they end, in any order. One that was moved from can be assigned to or destroyed; calls on it throw
 *              Status::invalid_argument.
 * Texts        std::string, std::string_view, literals, containers of them, and Input for pairs and token ids. They are
 *              read during the call only. All text is UTF-8, paths too.
 * Errors       Every call that C lets fail throws Error, which has the status and the message. A call that was stopped
 *              throws Cancelled, which is an Error.
 * Callbacks    Return true to go on. What they throw stops the call and comes out of it.
 * Options      Structs whose default is the library's: a zero, false, empty or null field means what cloze.h says that it
 *              means. C++20 lets you write {.top_k = 3}.
 * Threads      As in C: one Model serves any number of threads; a Trainer one call at a time.
 */
#ifndef CLOZE_HPP
#define CLOZE_HPP

#include "cloze/core.hpp"
#include "cloze/data.hpp"
#include "cloze/device.hpp"
#include "cloze/model.hpp"
#include "cloze/train.hpp"

#endif /* CLOZE_HPP */
