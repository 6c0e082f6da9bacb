"""Room 1. XMP made to agree with the coded pixels, without the pictures that it may hold (spec
3.5).

Source: XMP specification part 1 (ISO 16684-1) and part 2 (Adobe, 2016), for names and namespaces.
"""

import re
from typing import Any

from obic.errors import FormatError

MAX_BYTES = 2**20  # of a packet: what its tree takes is a hundred times that

ADOBE, GOOGLE = "http://ns.adobe.com/", "http://ns.google.com/photos/1.0/"
TIFF_SPACE, EXIF_SPACE = ADOBE + "tiff/1.0/", ADOBE + "exif/1.0/"
UNTRUE = {  # pictures, what lies elsewhere in the file that the packet came from, and checksums of its EXIF
    *((ADOBE + "xap/1.0/", "Thumbnails"), (ADOBE + "xmp/note/", "HasExtendedXMP")),
    *((TIFF_SPACE, "NativeDigest"), (EXIF_SPACE, "NativeDigest")),
    *((EXIF_SPACE, "MakerNote"), (EXIF_SPACE, "CompressedBitsPerPixel")),
    *((TIFF_SPACE, name) for name in ("BitsPerSample", "Compression", "PhotometricInterpretation", "SamplesPerPixel")),
    *((TIFF_SPACE, name) for name in ("PlanarConfiguration", "YCbCrSubSampling", "YCbCrPositioning")),
}
UNTRUE_NAMESPACES = {
    *(ADOBE + "xap/1.0/g/img/", ADOBE + "hdr-gain-map/1.0/"),
    *(GOOGLE + name for name in ("image/", "depthmap/", "audio/", "camera/", "container/", "container/item/")),
}
PLACES = {(EXIF_SPACE, "SubjectArea"), (EXIF_SPACE, "SubjectLocation")}  # in pixels, before the picture was turned
PLACE_NAMESPACES = {  # of regions, such as faces
    "http://www.metadataworkinggroup.com/schemas/regions/", "http://ns.microsoft.com/photo/1.2/",
}  # fmt: skip
PICTURE_TEXT = re.compile(r"(data:image/|/9j/|iVBORw0KGgo|UklGR|R0lGOD|SUkqA|TU0AK|AAAA.GZ0eX)[\w+/=;,]")  # in base64


def true_xmp(data: bytes, width: int, height: int, *, orientation: int = 1, srgb: bool = True) -> tuple[bytes, bool]:
    """The XMP packet of an upright picture of width x height, UTF-8, and False: it is whole or
    refused.

    Thumbnails and all else that holds a picture are gone, sizes are those given, the orientation is
    1; the arguments are those of `true_exif`. Raises FormatError if it cannot be read.
    """
    from xml.dom import minidom
    from xml.parsers.expat import ExpatError

    if len(data) > MAX_BYTES:
        raise FormatError(f"the XMP data has {len(data):,} bytes; {MAX_BYTES:,} can be looked through")
    values = {(TIFF_SPACE, "Orientation"): 1}
    values |= {(TIFF_SPACE, "ImageWidth"): width, (TIFF_SPACE, "ImageLength"): height}
    values |= {(EXIF_SPACE, "PixelXDimension"): width, (EXIF_SPACE, "PixelYDimension"): height}
    names, namespaces = set(UNTRUE), set(UNTRUE_NAMESPACES)
    if srgb:
        values[EXIF_SPACE, "ColorSpace"] = 1
        names.add((ADOBE + "photoshop/1.0/", "ICCProfile"))
    if orientation > 1:
        names |= PLACES
        namespaces |= PLACE_NAMESPACES

    def untrue(node: Any, text: str) -> bool:
        name = node.namespaceURI, node.localName
        return name in names or node.namespaceURI in namespaces or bool(PICTURE_TEXT.match(re.sub(r"\s", "", text)))

    def stays(node: Any) -> bool:
        if node.nodeType == node.ELEMENT_NODE:
            texts = (child for child in node.childNodes if child.nodeType in (node.TEXT_NODE, node.CDATA_SECTION_NODE))
            return not untrue(node, "".join(text.data for text in texts))
        return node.nodeType != node.COMMENT_NODE

    try:
        document: Any = minidom.parseString(data.strip(b"\0 \t\r\n"))
        if document.doctype:
            raise FormatError("the XMP data has a document type")
        for element in [document, *document.getElementsByTagName("*")]:
            element.childNodes = [node for node in element.childNodes if stays(node)]
            for attribute in list((element.attributes or {}).values()):
                if untrue(attribute, attribute.value):
                    element.removeAttributeNode(attribute)
                elif value := values.get((attribute.namespaceURI, attribute.localName)):
                    attribute.value = str(value)
            if value := values.get((element.namespaceURI, element.localName)):
                element.childNodes = [document.createTextNode(str(value))]
        return "\n".join(node.toxml() for node in document.childNodes).encode(), False
    except (ExpatError, ValueError, LookupError, RecursionError) as error:
        raise FormatError(f"the XMP data is damaged: {error}") from error
