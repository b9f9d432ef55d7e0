// The one list of views. A view is a script that exports {title, path, mount(root, context), unmount()};
// the first one is shown where no path is given.

import * as chat from "./views/chat.js";
import * as drag from "./views/drag.js";
import * as runs from "./views/runs.js";

export const VIEWS = [chat, drag, runs];
