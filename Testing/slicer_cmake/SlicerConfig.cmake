# Stand-in for the CMake package of a Slicer build, enough to configure an extension of scripted modules.
#
# The names of installed files and tests are written into files of the build folder: scripts.txt, resources.txt,
# tests.txt, and extension.txt with the extension's description. The installation and the package (cpack) are
# laid out as Slicer's: lib/Slicer-X.Y/qt-scripted-modules and share/Slicer-X.Y in a folder of the package's name.
#
# With SLICER_SOURCE, a checkout of Slicer, Slicer's own macros read the module's CMakeLists.txt.

set(Slicer_USE_FILE ${CMAKE_CURRENT_LIST_DIR}/UseSlicer.cmake)
set(Slicer_EXTENSION_GENERATE_CONFIG ${CMAKE_CURRENT_LIST_DIR}/GenerateConfig.cmake)
set(Slicer_EXTENSION_CPACK ${CMAKE_CURRENT_LIST_DIR}/DescribeExtension.cmake)
set(Slicer_USE_PYTHONQT ON)
set(Slicer_ExternalData_DATA_MANAGEMENT_TARGET MedNeXtSegmentationData)
set(Slicer_VERSION 5.12 CACHE STRING "Major and minor number of the Slicer to package for")
set(Slicer_REVISION 0 CACHE STRING "Revision of the Slicer to package for")
set(EXTENSION_COMMIT unknown CACHE STRING "Hash of the packed sources")
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR lib/Slicer-${Slicer_VERSION}/qt-scripted-modules)
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR ${Slicer_QTSCRIPTEDMODULES_LIB_DIR})
set(Slicer_SHARE_DIR share/Slicer-${Slicer_VERSION})
set(Slicer_QTLOADABLEMODULES_LIB_DIR lib/qt-loadable-modules)
set(Slicer_CLIMODULES_LIB_DIR lib/cli-modules)
set(Slicer_PYTHON_MODULE_TEST_TEMPLATES_DIR ${SLICER_SOURCE}/Base/QTCore/Testing/Python)
