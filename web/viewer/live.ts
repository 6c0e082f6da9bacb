// The code of such a page (`obic report --live`); what it shows are elements <obic-img>.

import "./embedded.js";
import "../src/element.js";
